"""One connection of an application tile: `api.Connection` over messages to the stack tile that runs its TCP."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from dlibos_node.memory.buffers import Buffers
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.sockets.api import Handler
from dlibos_node.sockets.buffers import LARGE, AppMemory


class Socket:
    """Implements `api.Connection`; the layer calls the methods whose names end in an underscore."""

    __slots__ = (
        "_asking",
        "_consumed",
        "_flying",
        "_held",
        "_holding",
        "_kept",
        "_memory",
        "_paused",
        "_peer_has_closed",
        "_refused",
        "_reserved",
        "_send_header",
        "_waits",
        "alive",
        "ends",
        "handle",
        "handler",
        "peer",
        "stack",
        "unacknowledged",
        "wanted",
    )

    handler: Handler

    def __init__(
        self,
        handle: int,
        peer: tuple[str, int],
        stack: Peer,
        memory: AppMemory,
        consumed: list[int],
        refused: deque[Socket],
        asking: list[Socket],
        ends: int = 0,
    ) -> None:
        self.handle = handle
        self.peer = peer
        self.ends = ends  # peer address << 32 | peer port << 16 | local port
        self.unacknowledged = 0
        self.wanted = 0  # bytes that a refused one waits for
        self._refused = refused  # who found no room: the layer calls `sent`, one after the other, when there is some
        self._asking = asking  # who wants to be handed over: the layer tells the stack, behind all that was consumed
        self._kept: Callable[[bool], None] | None = None  # it wants to be handed over
        self._waits = False  # it stands among them
        self.stack = stack
        self._consumed = consumed  # pairs for RECV_DONE, gathered over a frame
        self._memory = memory
        self._send_header = stack.header(tags.SEND, tags.COMMANDS, 3)
        self._flying: deque[tuple[Buffers, int, int]] = deque()  # pool, slot, bytes not yet acknowledged
        self._holding = 0  # bytes of the buffers it has
        self._reserved: tuple[Buffers, int] | None = None
        self._held: deque[memoryview] = deque()
        self._paused = False
        self._peer_has_closed = False  # and the handler does not know yet
        self.alive = True

    # --- api.Connection -----------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> bool:
        """See api.Connection."""
        size = len(data)
        if not self.alive:
            return True  # as a write to a connection whose end has not been noticed yet: `closed` follows
        if size > LARGE:
            return self._send_long(memoryview(data))
        taken = self._memory.take(size) if size and self._memory.allows(size, self._holding) else None
        if taken is None:
            return size == 0 or self._refuse(size)
        pool, slot = taken
        if size > pool.size:
            pool.put(slot)
            return self._send_long(memoryview(data))
        offset = pool.base + slot * pool.size
        self._memory.view[offset : offset + size] = data
        self._post(pool, slot, size)
        return True

    def allocate(self, size: int) -> memoryview | None:
        """See api.Connection."""
        if self._reserved is None:
            self._reserved = self._memory.take_share(size, self._holding)
        if self._reserved is None:
            self._refuse(1)
            return None
        pool, slot = self._reserved
        offset = pool.offset(slot)
        return self._memory.view[offset : offset + min(size, pool.size)]

    def commit(self, length: int) -> None:
        """See api.Connection."""
        if self._reserved is None:
            return
        (pool, slot), self._reserved = self._reserved, None
        if length and self.alive:
            self._post(pool, slot, length)
        else:
            pool.put(slot)

    def pause(self) -> None:
        """See api.Connection."""
        self._paused = True

    def resume(self) -> None:
        """See api.Connection."""
        self._paused = False
        while self._held and not self._paused and self.alive and self._kept is None:
            self._deliver(self._held.popleft())
        if self._peer_has_closed and not self._held and self.alive:
            self._peer_has_closed = False
            self.handler.eof()

    def close(self) -> None:
        """See api.Connection."""
        if self.alive:
            self.stack.post(tags.COMMANDS, tags.CLOSE, self.handle)

    def abort(self) -> None:
        """See api.Connection."""
        if self.alive:
            self.stack.post(tags.COMMANDS, tags.ABORT, self.handle)

    def hand_over(self, kept: Callable[[bool], None]) -> None:
        """See api.Connection."""
        if self.alive and self._kept is None:
            self._kept = kept
            self._asking.append(self)

    # --- the layer's side ---------------------------------------------------------------------------------------

    def redirect_(self, stack: Peer, consumed: list[int]) -> None:
        """Commands go to another stack tile from now on."""
        self.stack = stack
        self._consumed = consumed
        self._send_header = stack.header(tags.SEND, tags.COMMANDS, 3)

    def receive_(self, data: memoryview) -> None:
        """Payload arrived."""
        if self._paused or self._held or self._kept is not None:
            self._held.append(data)
        else:
            self._deliver(data)

    def peer_closed_(self) -> None:
        """FIN arrived: the handler hears of it after the payload before it."""
        if self._held:
            self._peer_has_closed = True
        else:
            self.handler.eof()

    def acknowledge_(self, count: int) -> None:
        """The peer has `count` more bytes: free the buffers they fill."""
        self.unacknowledged -= count
        flying = self._flying
        while flying:
            pool, slot, size = flying[0]
            if count < size:
                flying[0] = (pool, slot, size - count)
                break
            count -= size
            flying.popleft()
            pool.put(slot)
            self._holding -= pool.size

    def ask_(self) -> None:
        """Tell the stack tile that another application tile may have it."""
        if self.alive:
            self.stack.post(tags.COMMANDS, tags.HAND_OVER, self.handle)

    def ask_again_(self) -> None:
        """Another stack tile serves it: what was asked of the old one is asked of the new."""
        if self._kept is not None:
            self._asking.append(self)

    def kept_(self, alone: bool) -> None:
        """No other tile has it: go on."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept(alone)
            if not self._paused:
                self.resume()

    def offered_(self) -> None:
        """There is room for what it wanted."""
        self._waits = False
        if self.alive:
            self.handler.sent()

    def end_(self, *, handed_over: bool) -> None:
        """The connection is gone: give all buffers back. What is held is another tile's to read if that has it now."""
        self.alive = False
        self._kept = None
        for pool, slot, _ in self._flying:
            pool.put(slot)
        self._flying.clear()
        if not handed_over:
            for data in self._held:
                self._consumed += (self.handle, len(data))
        self._held.clear()
        self.unacknowledged = self._holding = self.wanted = 0
        self.commit(0)

    # --- inside -------------------------------------------------------------------------------------------------

    def _deliver(self, data: memoryview) -> None:
        size = len(data)
        try:
            self.handler.received(data)
        finally:
            data.release()
            self._consumed += (self.handle, size)

    def _post(self, pool: Buffers, slot: int, size: int) -> None:
        lease = pool.lend(slot, self.stack.number)
        place = (pool.base + slot * pool.size) << 32 | size
        self.stack.waiting[tags.COMMANDS] += (self._send_header, self.handle, place, lease)
        self._flying.append((pool, slot, size))
        self.unacknowledged += size
        self._holding += pool.size

    def _refuse(self, size: int) -> bool:
        # One that holds buffers is called when its own peer acknowledges: it needs no place in the queue.
        if self._holding == 0:
            self.wanted = min(size, LARGE)
            if not self._waits:
                self._waits = True
                self._refused.append(self)
        return False

    def _send_long(self, data: memoryview) -> bool:
        """Send what needs several buffers, all of it or nothing."""
        if not self._memory.allows(len(data), self._holding):
            return self._refuse(len(data))
        taken: list[tuple[Buffers, int]] = []
        room = 0
        while room < len(data):
            buffer = self._memory.take(len(data) - room)
            if buffer is None:
                for pool, slot in taken:
                    pool.put(slot)
                return self._refuse(len(data))
            taken.append(buffer)
            room += buffer[0].size
        at = 0
        for pool, slot in taken:
            piece = data[at : at + pool.size]
            offset = pool.offset(slot)
            self._memory.view[offset : offset + len(piece)] = piece
            self._post(pool, slot, len(piece))
            at += len(piece)
        return True
