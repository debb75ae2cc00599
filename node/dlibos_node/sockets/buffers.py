"""The application tile's own partition: what it sends lies here until the peer has acknowledged it."""

from __future__ import annotations

from typing import Final

from dlibos_node.memory.buffers import Buffers
from dlibos_node.memory.partition import Partition

SMALL: Final = 2048
SMALL_COUNT: Final = 8192
LARGE: Final = 64 * 1024
LARGE_COUNT: Final = 1024
SIZE: Final = SMALL * SMALL_COUNT + LARGE * LARGE_COUNT


class AppMemory:
    """Buffers of an APP partition in two sizes."""

    __slots__ = ("large", "small", "view")

    def __init__(self, partition: Partition) -> None:
        self.view = partition.view
        self.small = Buffers(partition.number, 0, SMALL, SMALL_COUNT)
        self.large = Buffers(partition.number, self.small.end, LARGE, LARGE_COUNT)

    def take(self, size: int) -> tuple[Buffers, int] | None:
        """Return a free buffer for `size` bytes, of LARGE bytes if they are more, or None."""
        pools = (self.small, self.large) if size <= SMALL else (self.large, self.small)
        for pool in pools:
            slot = pool.take()
            if slot >= 0:
                return pool, slot
        return None

    @property
    def free(self) -> int:
        """Bytes that can still be taken."""
        return self.small.free * SMALL + self.large.free * LARGE

    @property
    def in_use(self) -> int:
        """Buffers taken."""
        return self.small.in_use + self.large.in_use
