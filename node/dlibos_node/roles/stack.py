"""The stack tile: TCP/IP between driver tiles and application tiles. Frames and answers lie where others put them."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable

from dlibos_node.memory import descriptor
from dlibos_node.memory.descriptor import HIGH32, LOW32
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.roles.dispatch import Dispatch
from dlibos_node.roles.role import Clock
from dlibos_node.roles.tx import FRAME_SIZE, TxPort
from dlibos_node.stack.flow import Flow
from dlibos_node.stack.host import Frame, Host
from dlibos_node.stack.interface import Interface
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER


class Drop(enum.Enum):
    """Why a message was not obeyed; the value is the metric's label."""

    PARTITION = "unknown_partition"
    BOUNDS = "out_of_bounds"
    CONNECTION = "not_the_owner"  # a command on a connection of another application tile
    CLOSED = "connection_gone"  # a command that crossed the connection's end: harmless


class _Application:
    """An application tile as the stack sees it."""

    __slots__ = ("events", "peer", "recv", "sent")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.events = peer.waiting[tags.EVENTS]
        self.recv = peer.header(tags.RECV, tags.EVENTS, 3)
        self.sent: list[int] = []  # pairs for SENT, gathered over a frame


class AppEvents:
    """`stack.Events`: what happens to a flow, as messages to the application tile it belongs to."""

    def __init__(self, peers: dict[int, Peer]) -> None:
        self._apps = {number: _Application(peer) for number, peer in peers.items()}

    def connected(self, flow: Flow) -> None:
        """CONNECTED."""
        head = flow.header
        ends = head.peer << 32 | head.peer_port << 16 | head.local_port
        self._apps[flow.app].peer.post(tags.EVENTS, tags.CONNECTED, flow.handle, ends)

    def received(self, flow: Flow, span: Span) -> None:
        """RECV, naming the payload where the driver tile put it."""
        app = self._apps[flow.app]
        app.events += (app.recv, flow.handle, span.offset << 32 | span.length, span.lease & HIGH32)

    def sent(self, flow: Flow, count: int) -> None:
        """SENT, when the frame is done."""
        self._apps[flow.app].sent += (flow.handle, count)

    def peer_closed(self, flow: Flow) -> None:
        """PEER_CLOSED."""
        self._apps[flow.app].peer.post(tags.EVENTS, tags.PEER_CLOSED, flow.handle)

    def dead(self, flow: Flow, reason: int) -> None:
        """DEAD."""
        self._apps[flow.app].peer.post(tags.EVENTS, tags.DEAD, flow.handle, reason)

    def flush(self) -> None:
        """Post what was gathered."""
        for app in self._apps.values():
            if app.sent:
                app.peer.post_all(tags.EVENTS, tags.SENT, app.sent, 2)


class Stack:
    """One stack tile."""

    def __init__(
        self,
        interface: Interface,
        config: TcpConfig,
        port: TxPort,
        queues: Queues,
        apps: dict[int, Peer],
        views: dict[int, memoryview],
        clock: Clock,
        flush: Callable[[], None],
        *,
        secret: bytes,
        backlog: int,
    ) -> None:
        self.drops: Counter[Drop] = Counter()
        self.port = port
        self._events = AppEvents(apps)
        self.host = Host(interface, port, self._events, config, secret=secret, backlog=backlog, longest=FRAME_SIZE)
        self._apps = apps
        self._views = views
        self._clock = clock
        self._flush = flush
        self._armed = NEVER
        table = {
            tags.RX: (self._receive, 2),
            tags.TX_DONE: (port.done, 1),
            tags.LISTEN: (self._listen, 2),
            tags.SEND: (self._send, 3),
            tags.RECV_DONE: (self._recv_done, 2),
            tags.CLOSE: (self._close, 1),
            tags.ABORT: (self._abort, 1),
        }
        self.dispatch = Dispatch(queues, table)

    def _now(self) -> int:
        return int(self._clock.time() * 1e6)

    def drain(self) -> None:
        """Take received frames, commands and finished buffers; leave segments, events and releases."""
        self.dispatch.run(self._now())
        self._finish()

    def _finish(self) -> None:
        self._events.flush()
        self.port.flush_releases()
        self._arm()
        self._flush()

    def _receive(self, source: int, payload: list[int], now: int) -> None:
        place, lease = payload[0], payload[1]
        view = self._views.get(lease >> 48)
        offset, length = place >> 32, place & LOW32
        if view is None or descriptor.owner(lease >> 48) != source:
            self.drops[Drop.PARTITION] += 1
        elif offset + length > len(view):
            self.drops[Drop.BOUNDS] += 1
        else:
            self.port.held(source, offset)
            word, verified, answer = lease & HIGH32 | offset, lease & tags.RX_CHECKSUM_OK, not lease & tags.RX_COPY
            self.host.receive(Frame(view, offset, length, word, bool(verified), answer, source), now)

    # --- commands of application tiles ---------------------------------------------------------------------------

    def _listen(self, source: int, payload: list[int], _now: int) -> None:
        port, backlog = payload[0], payload[1]
        error = self.host.flows.listeners.add(port, source, backlog)
        self._apps[source].post(tags.EVENTS, tags.LISTENING, port, error)

    def _flow(self, source: int, handle: int) -> Flow | None:
        flow = self.host.flows.find(handle)
        if flow is None:
            self.drops[Drop.CLOSED] += 1
        elif flow.app != source:
            self.drops[Drop.CONNECTION] += 1
            return None
        return flow

    def _send(self, source: int, payload: list[int], now: int) -> None:
        flow = self._flow(source, payload[0])
        if flow is None:
            return
        for i in range(1, len(payload) - 1, 2):
            place, lease = payload[i], payload[i + 1]
            view = self._views.get(lease >> 48)
            if view is None or descriptor.owner(lease >> 48) != source:
                self.drops[Drop.PARTITION] += 1
            elif (place >> 32) + (place & LOW32) > len(view):
                self.drops[Drop.BOUNDS] += 1
            else:
                self.host.flows.send(flow, Span(lease & HIGH32, place >> 32, place & LOW32), now)

    def _recv_done(self, source: int, payload: list[int], now: int) -> None:
        for i in range(0, len(payload) - 1, 2):
            flow = self._flow(source, payload[i])
            if flow is not None:
                self.host.flows.consumed(flow, payload[i + 1], now)

    def _close(self, source: int, payload: list[int], now: int) -> None:
        flow = self._flow(source, payload[0])
        if flow is not None:
            self.host.flows.close(flow, now)

    def _abort(self, source: int, payload: list[int], now: int) -> None:
        flow = self._flow(source, payload[0])
        if flow is not None:
            self.host.flows.abort(flow, now)

    # --- links --------------------------------------------------------------------------------------------------

    def changed(self, peer: Peer) -> None:
        """A driver tile's buffers, or an application tile's connections, begin or end with its link."""
        if peer.number in self._apps:
            if not peer.up:
                self.host.flows.abandon(peer.number, self._now())
                self._finish()
        elif peer.up:
            self.port.attach(peer)
        else:
            self.port.detach(peer.number)

    def close(self) -> None:
        """Nothing outlives the process."""

    # --- time ---------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        deadline = self.host.flows.next_deadline()
        if deadline < self._armed:
            self._armed = deadline
            self._clock.call_at(deadline / 1e6, self._ring)

    def _ring(self) -> None:
        self._armed = NEVER
        self.host.flows.on_timer(self._now())
        self._finish()
