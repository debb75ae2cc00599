"""Buffers of one size in a partition, and who holds them.

Free buffers are a stack, as mPIPE's are: the one freed last is warm in the cache and is given out first.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import Final

from dlibos_node.memory import descriptor

FREE: Final = -1
SELF: Final = -2
GENERATIONS: Final = 1 << 16


class Refusal(enum.Enum):
    """Why a release was not obeyed; the value is the metric's label."""

    PARTITION = "foreign_partition"
    BOUNDS = "out_of_bounds"
    GENERATION = "stale_generation"
    HOLDER = "not_the_holder"


class Buffers:
    """`count` buffers of `size` bytes from offset `base` of partition `number`.

    A buffer is free, with its owner (SELF), or leased to a tile.
    """

    __slots__ = ("_free", "_generation", "_holder", "base", "count", "end", "number", "refused", "size")

    def __init__(self, number: int, base: int, size: int, count: int) -> None:
        self.number = number
        self.base = base
        self.size = size
        self.count = count
        self.end = base + size * count
        self.refused: Counter[Refusal] = Counter()
        self._free = list(range(count - 1, -1, -1))
        self._holder = [FREE] * count
        self._generation = [0] * count

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
        """Give back a buffer the owner holds."""
        self._holder[slot] = FREE
        self._generation[slot] = (self._generation[slot] + 1) % GENERATIONS
        self._free.append(slot)

    def offset(self, slot: int) -> int:
        """Return where a buffer begins."""
        return self.base + slot * self.size

    def lend(self, slot: int, tile: int) -> int:
        """Lease a buffer to `tile`; return the lease word with aux 0."""
        self._holder[slot] = tile
        return self.number << 48 | self._generation[slot] << 32

    def release(self, word: int, tile: int) -> Refusal | None:
        """Take a lease back from `tile`; the reason if that is not its to give. Any offset inside names the buffer."""
        slot = ((word & descriptor.LOW32) - self.base) // self.size
        reason: Refusal | None = None
        if word >> 48 != self.number:
            reason = Refusal.PARTITION
        elif not 0 <= slot < self.count:
            reason = Refusal.BOUNDS
        elif word >> 32 & 0xFFFF != self._generation[slot]:
            reason = Refusal.GENERATION
        elif self._holder[slot] != tile:
            reason = Refusal.HOLDER
        if reason is not None:
            self.refused[reason] += 1
            return reason
        self.put(slot)
        return None

    def reclaim(self, tile: int) -> int:
        """Take back all that a dead tile held; return how many buffers that were."""
        held = [slot for slot, holder in enumerate(self._holder) if holder == tile]
        for slot in held:
            self.put(slot)
        return len(held)
