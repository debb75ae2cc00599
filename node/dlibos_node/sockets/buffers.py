"""The application tile's own partition: what it sends lies here until the peer has acknowledged it.

Connections share it by a dynamic threshold (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory
packet switches", 1998): none may hold more than a bound that shrinks as less is free. Ours shrinks with the square of
what is free, where theirs is linear: many that never read leave more for whoever comes next, and a few lose nothing.

    free              100 %    50 %    25 %    12 %    6 %
    bound, long        10 MiB  2.5 MiB 640 KiB 160 KiB 40 KiB     n that take all they can leave sqrt(8/n) free
"""

from __future__ import annotations

from typing import Final

from dlibos_node.memory import layout
from dlibos_node.memory.buffers import Buffers
from dlibos_node.memory.partition import Partition

SMALL: Final = layout.APP.pools[0].size
MEDIUM: Final = layout.APP.pools[1].size
LARGE: Final = layout.APP.pools[2].size
SHORT: Final = SMALL * layout.APP.pools[0].count  # bytes for short sends
LONG: Final = MEDIUM * layout.APP.pools[1].count + LARGE * layout.APP.pools[2].count
ALONE: Final = 8  # one connection may hold 1/8 of an empty partition


class AppMemory:
    """Buffers of an APP partition in three sizes.

    `holding` is what a connection has: the sizes of its buffers, in bytes.
    """

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
        return _first(self._order(size))

    def take_share(self, size: int, holding: int) -> tuple[Buffers, int] | None:
        """Return a free buffer as `take` does, but none beyond the connection's bound, unless it holds nothing yet.

        While it holds some, a long send gets no small buffers: each costs a descriptor, and short sends need them.
        """
        room = self._bound(size) - holding
        least = min(size, MEDIUM) if holding else 0
        fair = [pool for pool in self._order(size) if least <= pool.size <= room]
        return _first(fair if holding else [*fair, *self.pools])

    def allows(self, size: int, holding: int) -> bool:
        """Tell whether a connection may take `size` bytes more; one that holds nothing always may."""
        return not holding or holding + size <= self._bound(size)

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

    def _bound(self, size: int) -> int:
        if size <= SMALL:
            free, whole = self.small.free * SMALL, SHORT
        else:
            free, whole = self.medium.free * MEDIUM + self.large.free * LARGE, LONG
        return free * free // (whole * ALONE)

    def _order(self, size: int) -> list[Buffers]:
        fitting = [pool for pool in self.pools if pool.size >= size]
        return [*fitting, *reversed(self.pools)]


def _first(pools: list[Buffers]) -> tuple[Buffers, int] | None:
    for pool in pools:
        slot = pool.take()
        if slot >= 0:
            return pool, slot
    return None
