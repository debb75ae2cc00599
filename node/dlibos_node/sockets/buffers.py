"""The application tile's own partition: what it sends lies here until the peer has acknowledged it."""

from __future__ import annotations

from typing import Final

from dlibos_node.memory import layout
from dlibos_node.memory.buffers import Buffers
from dlibos_node.memory.partition import Partition

SMALL: Final = layout.APP.pools[0].size
MEDIUM: Final = layout.APP.pools[1].size
LARGE: Final = layout.APP.pools[2].size


class AppMemory:
    """Buffers of an APP partition in three sizes."""

    __slots__ = ("large", "medium", "small", "view")

    def __init__(self, partition: Partition) -> None:
        self.view = partition.view
        self.small, self.medium, self.large = (Buffers(partition, pool) for pool in partition.layout.pools)

    def take(self, size: int) -> tuple[Buffers, int] | None:
        """Return a free buffer: the smallest kind that holds `size` bytes, else a larger, else the largest there is."""
        if size <= SMALL:
            slot = self.small.take()
            if slot >= 0:
                return self.small, slot
        fitting = [pool for pool in self.pools if pool.size >= size]
        for pool in [*fitting, *reversed(self.pools)]:
            slot = pool.take()
            if slot >= 0:
                return pool, slot
        return None

    @property
    def pools(self) -> tuple[Buffers, ...]:
        """The pools, smallest buffers first."""
        return self.small, self.medium, self.large

    @property
    def free(self) -> int:
        """Bytes that can still be taken."""
        return sum(pool.free * pool.size for pool in self.pools)

    @property
    def in_use(self) -> int:
        """Buffers taken."""
        return sum(pool.in_use for pool in self.pools)
