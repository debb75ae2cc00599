"""All connections of an application tile: stack tiles' events come in, handlers are called, commands go out."""

from __future__ import annotations

import enum
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from dlibos_node.memory.descriptor import LOW32
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.foreign import Foreign
from dlibos_node.memory.partition import Partition
from dlibos_node.noc import tags
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.sockets.api import Accept
from dlibos_node.sockets.buffers import AppMemory
from dlibos_node.sockets.moves import Moves
from dlibos_node.sockets.socket import Socket
from dlibos_node.wire import ipv4

log = logging.getLogger(__name__)

_ORDERLY: Final = (0, tags.HANDED_OVER)  # reasons of a DEAD that are no failure


class Drop(enum.Enum):
    """Why an event was not delivered; the value is the metric's label."""

    CLOSED = "connection_gone"
    HANDLER = "handler_failed"  # the application raised: its connection was reset


class Sockets:
    """The table of connections.

    `stacks` are the tiles that run TCP, `foreign` the RX partitions of this tile's domain by number.
    """

    def __init__(
        self,
        memory: AppMemory,
        stacks: dict[int, Peer],
        foreign: Foreign,
        faults: Faults,
        *,
        protected: bool,
    ) -> None:
        self.memory = memory
        self.drops: Counter[Drop] = Counter()
        self.accepted = 0
        self.listening: set[int] = set()  # stack tiles that have confirmed
        self.problem = ""
        self._stacks = dict(stacks)
        self._foreign = foreign
        self._partitions = foreign.partitions
        self._faults = faults
        self._checked = faults.checked
        self._protected = protected
        self._sockets: dict[int, Socket] = {}
        self._consumed: dict[int, list[int]] = {number: [] for number in stacks}
        self._refused: deque[Socket] = deque()
        self._asking: list[Socket] = []
        self._accept: Accept | None = None
        self._retire: Callable[[], None] | None = None
        self._port = 0
        self.retiring = False
        self._parting: set[int] = set()  # stack tiles that may yet send a connection
        self.moves = Moves(self._stacks, self._sockets, self._consumed, faults, protected=protected)

    def __len__(self) -> int:
        return len(self._sockets)

    def listen(self, port: int, accept: Accept, retire: Callable[[], None] | None = None) -> None:
        """Take connections to a port; stack tiles are told by `attach`.

        `retire` is called when the tile is to end: the application hands its connections over, or ends them.
        """
        self._port, self._accept, self._retire = port, accept, retire

    def retire(self) -> None:
        """Take no new connections, and let the application part with those it has."""
        if self.retiring:
            return
        self.retiring = True
        for number in self.listening:
            self._parting.add(number)
            self._stacks[number].post(tags.COMMANDS, tags.UNLISTEN, self._port)
        if self._retire is not None:
            self._retire()

    @property
    def retired(self) -> bool:
        """Whether it was told to retire and no connection is left, nor one on its way here."""
        return self.retiring and not self._parting and not self._sockets

    # --- links --------------------------------------------------------------------------------------------------

    def admit(self, stack: Peer) -> None:
        """A stack tile has joined the mesh."""
        self._stacks[stack.number] = stack
        self._consumed[stack.number] = []

    def dismiss(self, number: int) -> None:
        """It has left, and its connections with it."""
        del self._stacks[number], self._consumed[number]
        self.moves.dismiss(number)

    def attach(self, stack: Peer) -> None:
        """A stack tile is up and may send connections."""
        if self._accept is not None and not self.retiring:
            stack.post(tags.COMMANDS, tags.LISTEN, self._port, 0)
        self.moves.attach(stack)

    def detach(self, number: int) -> None:
        """A stack tile went, and its connections with it."""
        self.listening.discard(number)
        self._parting.discard(number)
        for socket in self.moves.lost(number):
            self._end(socket, reset=True)
            self.moves.ended(socket, number)

    # --- events, by tag (noc.tags); called with the source tile, the payload words and the time ------------------

    def on_listening(self, source: int, payload: list[int], _now: int) -> None:
        """LISTENING."""
        if payload[1]:
            self.problem = f"stack tile {source} refuses port {payload[0]}: errno {payload[1]}; choose another port"
        else:
            self.listening.add(source)
            if self.retiring:  # the two orders have crossed
                self._parting.add(source)
                self._stacks[source].post(tags.COMMANDS, tags.UNLISTEN, self._port)

    def on_unlistened(self, source: int, _payload: list[int], _now: int) -> None:
        """UNLISTENED."""
        self.listening.discard(source)
        self._parting.discard(source)

    def on_connected(self, source: int, payload: list[int], _now: int) -> None:
        """CONNECTED."""
        handle, ends = payload[0], payload[1]
        stack = self._stacks[source]
        peer = ipv4.text(ends >> 32), ends >> 16 & 0xFFFF
        socket = Socket(handle, peer, stack, self.memory, self._consumed[source], self._refused, self._asking, ends)
        if handle in self._sockets:
            self._faults.report(source, Fault.CONNECTION, tags.CONNECTED)
            return
        if self._accept is None:
            stack.post(tags.COMMANDS, tags.ABORT, handle)
            return
        try:
            socket.handler = self._accept(socket)
        except Exception:
            self._failed(socket)
            return
        self.accepted += 1
        self._sockets[handle] = socket

    def on_recv(self, source: int, payload: list[int], _now: int) -> None:
        """RECV: the payload is read where it lies."""
        handle, place, lease = payload[0], payload[1], payload[2]
        socket = self._sockets.get(handle)
        partition = self._partitions.get(lease >> 48)
        offset, length = place >> 32, place & LOW32
        if socket is None:
            self.drops[Drop.CLOSED] += 1
            self._consumed[source] += (handle, length)
        elif self._foreign_to(source, socket, tags.RECV):
            return
        elif partition is None or (self._protected and self._refuses(source, partition, place, lease)):
            self._unreadable(source, handle, length, lease >> 48, partition)
        else:
            try:
                socket.receive_(partition.view[offset : offset + length])
            except Exception:
                self._failed(socket)

    def _refuses(self, source: int, partition: Partition, place: int, lease: int) -> bool:
        self._checked.descriptors += 1
        fault = partition.check(place, lease)
        if fault is not None:
            self._faults.report(source, fault, tags.RECV)
        return fault is not None

    def _unreadable(self, source: int, handle: int, length: int, number: int, partition: Partition | None) -> None:
        """The payload cannot be had, so the connection would go on with a gap: it is reset."""
        if partition is None:
            self._faults.report(source, self._foreign.missing(number), tags.RECV)
        self._consumed[source] += (handle, length)
        self._sockets[handle].abort()

    def on_sent(self, source: int, payload: list[int], _now: int) -> None:
        """SENT."""
        if self._protected:
            self._checked.counts += len(payload) >> 1
        for i in range(0, len(payload) - 1, 2):
            socket = self._sockets.get(payload[i])
            if socket is None:
                self.drops[Drop.CLOSED] += 1
            elif self._foreign_to(source, socket, tags.SENT):
                continue
            elif self._protected and payload[i + 1] > socket.unacknowledged:
                self._faults.report(source, Fault.EXCESS, tags.SENT)
            else:
                socket.acknowledge_(payload[i + 1])
                self._call(socket, socket.handler.sent)

    def on_peer_closed(self, source: int, payload: list[int], _now: int) -> None:
        """PEER_CLOSED."""
        socket = self._sockets.get(payload[0])
        if socket is not None and not self._foreign_to(source, socket, tags.PEER_CLOSED):
            self._call(socket, socket.peer_closed_)

    def on_dead(self, source: int, payload: list[int], _now: int) -> None:
        """DEAD."""
        socket = self._sockets.get(payload[0])
        if socket is not None and not self._foreign_to(source, socket, tags.DEAD):
            self._end(socket, reset=payload[1] not in _ORDERLY, handed_over=payload[1] == tags.HANDED_OVER)
            self.moves.dead(socket)

    def on_kept(self, source: int, payload: list[int], _now: int) -> None:
        """KEPT."""
        socket = self._sockets.get(payload[0])
        if socket is not None and not self._foreign_to(source, socket, tags.KEPT):
            alone = payload[1] == tags.KEPT_ALONE
            self._call(socket, lambda: socket.kept_(alone))

    def _foreign_to(self, source: int, socket: Socket, tag: int) -> bool:
        """Whether the stack tile does not serve this connection: then it may say nothing of it."""
        if not self._protected or (socket.stack.number == source and not self.moves.under_way):
            return False
        if self.moves.serves(source, socket):
            return False
        self._faults.report(source, Fault.CONNECTION, tag)
        return True

    # --- inside -------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Post what was gathered since the last call."""
        for number, consumed in self._consumed.items():
            if consumed:
                self._stacks[number].post_all(tags.COMMANDS, tags.RECV_DONE, consumed, 2)
        if self._asking:
            for socket in self._asking:
                socket.ask_()
            self._asking.clear()

    def offer_room(self) -> None:
        """Call `sent` where a send was refused: in turn, and only where what was wanted is free now."""
        refused = self._refused
        for _ in range(len(refused)):
            if refused[0].wanted > self.memory.free:
                return
            socket = refused.popleft()
            self._call(socket, socket.offered_)

    def _end(self, socket: Socket, *, reset: bool, handed_over: bool = False) -> None:
        del self._sockets[socket.handle]
        socket.end_(handed_over=handed_over)
        try:
            socket.handler.closed(reset)
        except Exception:
            self._failed(socket)

    def _call(self, socket: Socket, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            self._failed(socket)

    def _failed(self, socket: Socket) -> None:
        log.exception("the application failed on the connection from %s:%d; it is reset", *socket.peer)
        self.drops[Drop.HANDLER] += 1
        socket.abort()
