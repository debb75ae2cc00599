"""Connections on their way from one application tile to another of the same port, at the stack tile.

The payload of what was sent lies in the old tile's memory until the peer has acknowledged it, so a connection changes
hands when all is acknowledged: with a client that sends one request after the other, in the moment in which the next
one arrives with the ACK. What the old tile has not consumed, the new one is told of anew: not a byte is lost.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.roles.app_events import AppEvents
from dlibos_node.stack.flow import Flow
from dlibos_node.stack.flows import Flows
from dlibos_node.tcp import state


class HandOvers:
    """Those that were asked for. `apps` are the application tiles, as they are now."""

    __slots__ = ("_apps", "_events", "_flows", "done", "waiting")

    def __init__(self, flows: Flows, events: AppEvents, apps: Mapping[int, Peer]) -> None:
        self.done = 0  # connections that changed hands
        self.waiting: dict[int, Flow] = {}  # by handle
        self._flows = flows
        self._events = events
        self._apps = apps

    def ask(self, flow: Flow) -> None:
        """Let another application tile have a connection as soon as that is possible; `run` does it."""
        self.waiting[flow.handle] = flow

    def run(self) -> None:
        """Hand over what can be, give up what cannot."""
        for handle, flow in list(self.waiting.items()):
            if self._decide(flow):
                del self.waiting[handle]

    def _decide(self, flow: Flow) -> bool:
        """Whether nothing is left to wait for."""
        if flow.dead or self._events.moves(flow):
            return True  # its application tile hears of the end, is gone, or asks again where the connection goes
        if flow.conn.state != state.ESTABLISHED:
            self._keep(flow, tags.KEPT_CLOSING)
            return True
        listener = self._flows.listeners.find(flow.header.local_port)
        heir = listener.other_than(flow.app) if listener is not None else None
        if heir is None:
            self._keep(flow, tags.KEPT_ALONE)
            return True
        if flow.conn.unacknowledged or self._events.holds_back(flow):
            return False
        self._give(flow, heir)
        return True

    def _keep(self, flow: Flow, reason: int) -> None:
        self._apps[flow.app].post(tags.EVENTS, tags.KEPT, flow.handle, reason)

    def _give(self, flow: Flow, heir: int) -> None:
        events = self._events
        events.handed_over(flow)
        self._flows.rename(flow, heir)
        events.connected(flow)
        for span in flow.unfinished():
            events.received(flow, span)
        self.done += 1
