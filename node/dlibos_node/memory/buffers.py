"""Buffers of one size in a partition, and who holds them.

Free buffers are a stack, as mPIPE's are: the one freed last is warm in the cache and is given out first.
"""

from __future__ import annotations

from array import array
from typing import Final

from dlibos_node.memory import descriptor
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.layout import Pool
from dlibos_node.memory.partition import Partition

FREE: Final = -1
SELF: Final = -2
GENERATIONS: Final = 1 << 16


class Buffers:
    """The buffers of one pool of a partition this tile owns.

    A buffer is free, with its owner (SELF), or leased to a tile. With leases each change of a generation is
    published in the partition's table, where readers find it.
    """

    __slots__ = (
        "_first", "_free", "_generation", "_holder", "_published", "base", "count", "end", "number", "size",
    )  # fmt: skip

    def __init__(self, partition: Partition, pool: Pool) -> None:
        self.number = partition.number
        self.base = pool.base
        self.size = pool.size
        self.count = pool.count
        self.end = pool.end
        self._first = pool.first
        self._published: memoryview | None = partition.generations if partition.leases else None
        self._free = list(range(pool.count - 1, -1, -1))
        self._holder = [FREE] * pool.count
        self._generation = [partition.epoch] * pool.count
        if self._published is not None:
            self._published[pool.first : pool.first + pool.count] = array("H", self._generation)

    @property
    def free(self) -> int:
        """Number of buffers that can be taken."""
        return len(self._free)

    @property
    def in_use(self) -> int:
        """Number of buffers that are taken or leased."""
        return self.count - len(self._free)

    def take(self) -> int:
        """Return the slot of a free buffer, now the owner's, or -1."""
        if not self._free:
            return -1
        slot = self._free.pop()
        self._holder[slot] = SELF
        return slot

    def put(self, slot: int) -> None:
        """Give back a buffer the owner holds, or takes back: descriptors of it are stale from now on."""
        generation = (self._generation[slot] + 1) % GENERATIONS
        self._holder[slot] = FREE
        self._generation[slot] = generation
        if self._published is not None:
            self._published[self._first + slot] = generation
        self._free.append(slot)

    def offset(self, slot: int) -> int:
        """Return where a buffer begins."""
        return self.base + slot * self.size

    def lend(self, slot: int, tile: int) -> int:
        """Lease a buffer to `tile`; return the lease word with aux 0."""
        self._holder[slot] = tile
        return self.number << 48 | self._generation[slot] << 32

    def lease(self, slot: int) -> int:
        """Return the lease word of a buffer the owner keeps for itself."""
        return self.number << 48 | self._generation[slot] << 32

    def release(self, word: int, tile: int) -> Fault | None:
        """Take a lease back from `tile`; the reason if that is not its to give. Any offset inside names the buffer."""
        slot = ((word & descriptor.LOW32) - self.base) // self.size
        fault = self._refuses(slot, word, tile)
        if fault is None:
            self.put(slot)
        return fault

    def pass_on(self, word: int, tile: int, to: int) -> Fault | None:
        """Make a lease of `tile` another's; the reason if that is not its to give. Descriptors of it stay good."""
        slot = ((word & descriptor.LOW32) - self.base) // self.size
        fault = self._refuses(slot, word, tile)
        if fault is None:
            self._holder[slot] = to
        return fault

    def _refuses(self, slot: int, word: int, tile: int) -> Fault | None:
        if word >> 48 != self.number:
            return Fault.PARTITION
        if not 0 <= slot < self.count:
            return Fault.BOUNDS
        if word >> 32 & 0xFFFF != self._generation[slot]:
            return Fault.GENERATION
        return None if self._holder[slot] == tile else Fault.HOLDER

    def release_unchecked(self, word: int) -> None:
        """Take a buffer back on the word of whoever says so (the unprotected mode). May raise IndexError."""
        self.put(((word & descriptor.LOW32) - self.base) // self.size)

    def reclaim(self, tile: int) -> int:
        """Take back all that a dead tile held; return how many buffers that were."""
        held = [slot for slot, holder in enumerate(self._holder) if holder == tile]
        for slot in held:
            self.put(slot)
        return len(held)
