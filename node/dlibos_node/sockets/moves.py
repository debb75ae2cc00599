"""Connections that go from one stack tile to another, as their application tile sees it; and those that lost theirs.

A connection that is told to move (MOVING) says MOVE behind its commands, and gathers those that follow. When its new
stack tile says MOVED they go there, and the old one is told (LEFT). The application notices nothing.
"""

from __future__ import annotations

from typing import Final

from dlibos_node.memory.fault import Fault
from dlibos_node.noc import message, tags
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.sockets.socket import Socket

ORPHANS_KEPT: Final = 65536  # of one stack tile


class Move:
    """One connection on its way. `here` stands for the new stack tile: what is posted to it waits in it."""

    __slots__ = ("consumed", "here", "old", "target")

    def __init__(self, old: Peer, target: Peer) -> None:
        self.old = old
        self.target = target
        self.here = Peer(target.me, target.number, capacity=target.capacity)
        self.consumed: list[int] = []


class Moves:
    """All moves of an application tile. `stacks` and `sockets` are the layer's, by number and by handle."""

    __slots__ = ("_consumed", "_faults", "_later", "_orphans", "_protected", "_sockets", "_stacks", "under_way")

    def __init__(
        self,
        stacks: dict[int, Peer],
        sockets: dict[int, Socket],
        consumed: dict[int, list[int]],
        faults: Faults,
        *,
        protected: bool,
    ) -> None:
        self.under_way: dict[int, Move] = {}
        self._stacks = stacks
        self._sockets = sockets
        self._consumed = consumed
        self._faults = faults
        self._protected = protected
        self._later: dict[int, list[int]] = {}  # by stack tile whose link is not up: handles that are to move there
        self._orphans: dict[int, list[int]] = {}  # by stack tile that died: the ends of its connections

    def serves(self, source: int, socket: Socket) -> bool:
        """Whether a stack tile may speak of a connection now."""
        move = self.under_way.get(socket.handle)
        return source == (socket.stack.number if move is None else move.old.number)

    # --- messages -----------------------------------------------------------------------------------------------

    def on_moving(self, source: int, payload: list[int], _now: int) -> None:
        """MOVING."""
        socket, target = self._sockets.get(payload[0]), self._stacks.get(payload[1])
        if socket is None:
            return  # ended meanwhile: the stack tile knows by now, or will soon
        if target is None or target.number == source or not self.serves(source, socket) or self._moves(socket):
            self._faults.report(source, Fault.CONNECTION, tags.MOVING)
        elif target.up:
            self._move(socket, target)
        else:
            self._later.setdefault(target.number, []).append(socket.handle)

    def _moves(self, socket: Socket) -> bool:
        return socket.handle in self.under_way

    def _move(self, socket: Socket, target: Peer) -> None:
        old = socket.stack
        move = self.under_way[socket.handle] = Move(old, target)
        consumed = self._consumed[old.number]
        if consumed:
            old.post_all(tags.COMMANDS, tags.RECV_DONE, consumed, 2)
        old.post(tags.COMMANDS, tags.MOVE, socket.handle)
        socket.redirect_(move.here, move.consumed)

    def on_moved(self, source: int, payload: list[int], _now: int) -> None:
        """MOVED."""
        handle = payload[0]
        move = self.under_way.get(handle)
        socket = self._sockets.get(handle)
        if socket is None:
            self._refuse(source, handle, payload[1])
        elif move is None or move.target.number != source:
            self._faults.report(source, Fault.CONNECTION, tags.MOVED)
        else:
            del self.under_way[handle]
            move.target.waiting[tags.COMMANDS] += move.here.waiting[tags.COMMANDS]
            consumed = self._consumed[source]
            consumed += move.consumed
            socket.redirect_(move.target, consumed)
            socket.ask_again_()
            if move.old.up:
                move.old.post(tags.COMMANDS, tags.LEFT, handle)

    def _refuse(self, source: int, handle: int, owing: int) -> None:
        """It has ended here while it was under way: end it there too, and let its receive buffers go."""
        stack = self._stacks[source]
        if owing:
            stack.post(tags.COMMANDS, tags.RECV_DONE, handle, owing)
        stack.post(tags.COMMANDS, tags.ABORT, handle)

    # --- links --------------------------------------------------------------------------------------------------

    def attach(self, stack: Peer) -> None:
        """A stack tile came up: go on with what waited for it, and tell it of those that it lost."""
        for handle in self._later.pop(stack.number, ()):
            socket = self._sockets.get(handle)
            if socket is not None and not self._moves(socket):
                self._move(socket, stack)
        self._bequeath(self._orphans.pop(stack.number, []), stack)

    def lost(self, number: int) -> list[Socket]:
        """Return the connections that end with a stack tile: its own, those it was to get, and to give away."""
        found = []
        for handle, socket in self._sockets.items():
            move = self.under_way.get(handle)
            if socket.stack.number == number or (move is not None and move.old.number == number):
                found.append(socket)
        return found

    def ended(self, socket: Socket, dead: int) -> None:
        """A connection has ended with a stack tile: the other one, if it was under way, is to end it too."""
        orphans = self._orphans.setdefault(dead, [])
        if len(orphans) < ORPHANS_KEPT:
            orphans.append(socket.ends)
        move = self.under_way.pop(socket.handle, None)
        if move is not None and move.old.up:
            words = move.consumed
            move.old.post_all(tags.COMMANDS, tags.RECV_DONE, words, 2)
            move.old.post(tags.COMMANDS, tags.ABORT, socket.handle)

    def dead(self, socket: Socket) -> None:
        """The old stack tile says that a connection has ended which was about to leave it."""
        move = self.under_way.pop(socket.handle, None)
        if move is not None and move.old.up:
            move.old.post_all(tags.COMMANDS, tags.RECV_DONE, move.consumed, 2)

    def dismiss(self, number: int) -> None:
        """A stack tile has left the mesh: another tells those that it lost."""
        self._later.pop(number, None)
        orphans = self._orphans.pop(number, [])
        heir = next((stack for stack in self._stacks.values() if stack.up), None)
        if heir is not None:
            self._bequeath(orphans, heir)
        elif orphans and self._stacks:
            self._orphans.setdefault(next(iter(self._stacks)), []).extend(orphans)

    def _bequeath(self, orphans: list[int], stack: Peer) -> None:
        for start in range(0, len(orphans), message.MAX_WORDS):
            stack.post(tags.COMMANDS, tags.ORPHANS, *orphans[start : start + message.MAX_WORDS])
