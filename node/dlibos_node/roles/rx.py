"""A driver's RX partition: small buffers for most frames, large ones for what TSO left uncut.

Each read offers a small buffer and behind it a large one whose front is kept free. A frame that fits the small buffer
stays there; of a longer one the first part, as long as a small buffer, is copied in front of the rest. So one read
takes any frame, and an ordinary frame never occupies 64 KiB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dlibos_node.memory import layout
from dlibos_node.memory.buffers import Buffers
from dlibos_node.memory.descriptor import LOW32
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.partition import Partition

SMALL: Final = layout.RX.pools[0].size
SMALL_COUNT: Final = layout.RX.pools[0].count
LARGE: Final = layout.RX.pools[1].size
LARGE_COUNT: Final = layout.RX.pools[1].count


class Received:
    """One frame as the device left it: the view it lies in, the buffer the driver now holds, first byte, length."""

    __slots__ = ("length", "offset", "pool", "slot", "view")

    def __init__(self, view: memoryview, pool: Buffers, slot: int, offset: int, length: int) -> None:
        self.view = view
        self.pool = pool
        self.slot = slot
        self.offset = offset
        self.length = length


class RxMemory:
    """Buffers of an RX partition with room for any frame up to LARGE bytes."""

    __slots__ = (
        "_large_views", "_next_large", "_scratch", "_small_views", "large", "leases", "number", "overflowed", "small",
        "view",
    )  # fmt: skip

    def __init__(self, partition: Partition) -> None:
        self.number = partition.number
        self.leases = partition.leases
        self.view = view = partition.view
        self.small = Buffers(partition, partition.layout.pools[0])
        self.large = Buffers(partition, partition.layout.pools[1])
        self.overflowed = 0  # frames lost because no buffer was free
        self._small_views = [view[i * SMALL : (i + 1) * SMALL] for i in range(SMALL_COUNT)]
        base = self.large.base
        self._large_views = [view[base + i * LARGE + SMALL : base + (i + 1) * LARGE] for i in range(LARGE_COUNT)]
        self._next_large = self.large.take()
        self._scratch = memoryview(bytearray(LARGE))

    def read(self, receive: Callable[[Sequence[memoryview]], int]) -> Received | None:
        """Read one frame; None when the device has none. A frame that finds no buffer is counted and lost."""
        slot = self.small.take()
        if slot < 0:
            self.overflowed += receive((self._scratch,)) > 0
            return None
        large = self._take_large()
        rest = self._large_views[large] if large >= 0 else self._scratch[SMALL:]
        length = receive((self._small_views[slot], rest))
        if 0 < length <= SMALL:
            return Received(self.view, self.small, slot, slot * SMALL, length)
        received = self._spread(slot, large, length) if length else None
        self.small.put(slot)
        return received

    def store(self, frame: memoryview) -> Received | None:
        """Copy a frame that was read elsewhere; None, and counted as lost, when no buffer is free for it."""
        length = len(frame)
        pool = self.small if length <= SMALL else self.large
        slot = pool.take()
        if slot < 0:
            self.overflowed += 1
            return None
        offset = pool.base + slot * pool.size
        self.view[offset : offset + length] = frame
        return Received(self.view, pool, slot, offset, length)

    def _take_large(self) -> int:
        if self._next_large < 0:
            self._next_large = self.large.take()
        return self._next_large

    def _spread(self, slot: int, large: int, length: int) -> Received | None:
        """Move the front of a frame that overflowed its small buffer before the rest of it."""
        if large < 0:
            self.overflowed += 1
            return None
        offset = self.large.offset(large)
        self.view[offset : offset + SMALL] = self._small_views[slot]
        self._next_large = self.large.take()
        return Received(self.view, self.large, large, offset, length)

    def release(self, word: int, tile: int) -> Fault | None:
        """Take a lease back from a stack tile."""
        pool = self.small if word & LOW32 < self.small.end else self.large
        return pool.release(word, tile)

    def pass_on(self, word: int, tile: int, to: int) -> Fault | None:
        """Make a lease of one stack tile another's."""
        pool = self.small if word & LOW32 < self.small.end else self.large
        return pool.pass_on(word, tile, to)

    def release_unchecked(self, word: int) -> None:
        """Take a lease back from whoever gives it (the unprotected mode)."""
        pool = self.small if word & LOW32 < self.small.end else self.large
        pool.release_unchecked(word)

    def reclaim(self, tile: int) -> int:
        """Take back what a dead tile held; return how many buffers."""
        return self.small.reclaim(tile) + self.large.reclaim(tile)

    @property
    def large_in_use(self) -> int:
        """Large buffers taken or leased; the one that is kept ready for the next read is not counted."""
        return self.large.in_use - (self._next_large >= 0)

    @property
    def in_use(self) -> int:
        """Buffers taken or leased."""
        return self.small.in_use + self.large_in_use
