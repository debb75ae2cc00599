"""Where buffers lie in a partition: pools of equal buffers one after another, behind them the table of generations.

    +---------------+-------------------+ ... +---------------------------+
    | pool 0        | pool 1            |     | generation of each buffer |
    | count x size  | count x size      |     | 16 bits, slot by slot     |
    +---------------+-------------------+ ... +---------------------------+
    0                                         payload                     size

The table is part of the partition, so only the owner writes it, and every reader can tell whether a descriptor is
current. The layout follows from a partition's index, so nobody has to be believed about it.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Final

from dlibos_node.memory import descriptor


class Pool:
    """`count` buffers of `size` bytes from offset `base` to `end`; `first` is the table's entry of the first."""

    __slots__ = ("base", "count", "end", "first", "size")

    def __init__(self, base: int, size: int, count: int, first: int) -> None:
        self.base = base
        self.size = size
        self.count = count
        self.end = base + size * count
        self.first = first


class Layout:
    """Pools given as (size in bytes, count) in the order they lie in."""

    __slots__ = ("payload", "pools", "size", "slots")

    def __init__(self, kinds: Sequence[tuple[int, int]]) -> None:
        self.pools: list[Pool] = []
        base = first = 0
        for size, count in kinds:
            self.pools.append(Pool(base, size, count, first))
            base += size * count
            first += count
        self.payload = base
        self.slots = first
        page = mmap.PAGESIZE
        self.size = (base + 2 * first + page - 1) // page * page

    def slot(self, offset: int, length: int) -> int:
        """Return the table's entry of the buffer in which `length` bytes at `offset` lie whole, or -1."""
        for pool in self.pools:
            if offset < pool.end:
                number = (offset - pool.base) // pool.size
                inside = offset + length <= pool.base + (number + 1) * pool.size
                return pool.first + number if inside else -1
        return -1


RX: Final = Layout(((2048, 4096), (68 * 1024, 512)))
TX: Final = Layout(((128, 8192), (2048, 256)))
APP: Final = Layout(((2048, 8192), (16 * 1024, 1024), (64 * 1024, 1024)))


def layout_of(partition: int) -> Layout:
    """Return the layout of a partition by its number."""
    index = partition & descriptor.INDEX_MASK
    return {descriptor.TX_INDEX: TX, descriptor.APP_INDEX: APP}.get(index, RX)
