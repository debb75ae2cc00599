"""What happens to a connection, as messages from the stack tile to the application tile it belongs to.

SENT and DEAD let the application use its buffers anew. The peer may have acknowledged bytes of which a retransmission
still waits at a driver tile, so both are held back until no driver reads them any more: else what the application
writes next would go out to a stranger.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dlibos_node.memory.descriptor import HIGH32
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.stack.flow import Flow
from dlibos_node.stack.ports import Port
from dlibos_node.tcp.span import Span

_DEAD: Final = -1  # in place of a count of bytes
_Late = tuple[Flow, int, int, list[tuple[int, int]]]
"""Flow, bytes acknowledged or _DEAD, reason; the ways and tickets by which its payload had gone out by then."""


class _Application:
    """An application tile as the stack sees it."""

    __slots__ = ("events", "peer", "recv", "sent")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.events = peer.waiting[tags.EVENTS]
        self.recv = peer.header(tags.RECV, tags.EVENTS, 3)
        self.sent: list[int] = []  # pairs for SENT, gathered over a frame


class AppEvents:
    """`stack.Events` over the NoC. `port` tells which payload is still to leave."""

    def __init__(self, peers: dict[int, Peer], port: Port) -> None:
        self._apps = {number: _Application(peer) for number, peer in peers.items()}
        self._port = port
        self._late: deque[_Late] = deque()
        self._moving: set[int] = set()  # handles of connections that are about to go to another stack tile
        self.ended: list[int] = []  # those of them that have ended instead

    def admit(self, peer: Peer) -> None:
        """An application tile has joined the mesh."""
        self._apps[peer.number] = _Application(peer)

    def dismiss(self, app: int) -> None:
        """It has left, and `forget` was called."""
        del self._apps[app]

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
        if self._late or not self.left(flow):
            self._late.append((flow, count, 0, self._ways(flow)))
        else:
            self._apps[flow.app].sent += (flow.handle, count)

    def peer_closed(self, flow: Flow) -> None:
        """PEER_CLOSED."""
        self._apps[flow.app].peer.post(tags.EVENTS, tags.PEER_CLOSED, flow.handle)

    def dead(self, flow: Flow, reason: int) -> None:
        """DEAD."""
        if flow.handle in self._moving:
            self.ended.append(flow.handle)
        if self._late or not self.left(flow):
            self._late.append((flow, _DEAD, reason, self._ways(flow)))
        else:
            self._end(flow, reason)

    def holds_back(self, flow: Flow) -> bool:
        """Whether something of that connection is still to be told."""
        return any(late[0] is flow for late in self._late)

    def handed_over(self, flow: Flow) -> None:
        """DEAD for the application tile that has it so far; nothing may be held back."""
        self._end(flow, tags.HANDED_OVER)

    def flush(self) -> None:
        """Post what was gathered, and what was held back and need not be any more."""
        if self._late:
            self._release_late()
        for app in self._apps.values():
            if app.sent:
                app.peer.post_all(tags.EVENTS, tags.SENT, app.sent, 2)

    def forget(self, app: int) -> None:
        """An application tile is gone: nothing is held back for it."""
        self._late = deque([late for late in self._late if late[0].app != app])
        self._apps[app].sent.clear()

    # --- connections that move ----------------------------------------------------------------------------------

    def hold(self, flow: Flow) -> int:
        """Report no more of a connection but its end; return how many acknowledged bytes were not reported."""
        app = self._apps[flow.app]
        if app.sent:
            app.peer.post_all(tags.EVENTS, tags.SENT, app.sent, 2)
        self._moving.add(flow.handle)
        late, self._late = self._late, deque()
        count = 0
        for entry in late:
            if entry[0] is flow:
                count += entry[1]
            else:
                self._late.append(entry)
        return count

    def moves(self, flow: Flow) -> bool:
        """Whether a connection is about to go."""
        return flow.handle in self._moving

    def let_go(self, handle: int) -> None:
        """It has gone, or ended."""
        self._moving.discard(handle)

    def moved(self, flow: Flow, acknowledged: int) -> None:
        """MOVED: it has come; then what was not reported where it comes from."""
        app = self._apps[flow.app]
        app.peer.post(tags.EVENTS, tags.MOVED, flow.handle, flow.owing)
        if acknowledged:
            app.peer.post(tags.EVENTS, tags.SENT, flow.handle, acknowledged)

    def left(self, flow: Flow) -> bool:
        """Whether no driver tile reads the connection's payload any more."""
        if flow.earlier:
            flow.earlier = [(way, ticket) for way, ticket in flow.earlier if not self._port.finished(way, ticket)]
        return not flow.earlier and self._port.finished(flow.sent_by, flow.ticket)

    # --- inside -------------------------------------------------------------------------------------------------

    def _ways(self, flow: Flow) -> list[tuple[int, int]]:
        return [*flow.earlier, (flow.sent_by, flow.ticket)]

    def _release_late(self) -> None:
        """Report what has left; the events of one flow stay in their order, those of others do not wait for it."""
        waiting: set[int] = set()
        kept: deque[_Late] = deque()
        finished = self._port.finished
        for late in self._late:
            flow, count, reason, ways = late
            if flow.handle in waiting or not all(finished(way, ticket) for way, ticket in ways):
                waiting.add(flow.handle)
                kept.append(late)
            elif count == _DEAD:
                self._end(flow, reason)
            else:
                self._apps[flow.app].sent += (flow.handle, count)
        self._late = kept

    def _end(self, flow: Flow, reason: int) -> None:
        app = self._apps[flow.app]
        if app.sent:
            app.peer.post_all(tags.EVENTS, tags.SENT, app.sent, 2)
        app.peer.post(tags.EVENTS, tags.DEAD, flow.handle, reason)
