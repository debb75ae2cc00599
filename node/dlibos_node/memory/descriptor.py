"""The words that name a buffer: a descriptor has two, a release one.

     63       48 47       32 31                        0
    +-----------------------+---------------------------+
    |        offset         |          length           |   place word
    +-----------+-----------+---------------------------+
    | partition | generation|           aux             |   lease word (aux: what the message adds, see noc.tags)
    +-----------+-----------+---------------------------+
    | partition | generation|  an offset in the buffer  |   release word
    +-----------+-----------+---------------------------+

A partition's number carries its owner: tile << 6 | index. The generation is the buffer's: its owner counts it up each
time the buffer becomes free, so a stale descriptor does not match any more.
"""

from __future__ import annotations

from typing import Final

INDEX_BITS: Final = 6
LOW32: Final = 0xFFFF_FFFF
HIGH32: Final = 0xFFFF_FFFF_0000_0000

INDEX_MASK: Final = (1 << INDEX_BITS) - 1
# A driver's RX partitions have the number of their domain as index.
SYSTEM_DOMAIN: Final = 0  # of what belongs to no application: only stack tiles read it
MAX_DOMAIN: Final = 61
TX_INDEX: Final = 62
APP_INDEX: Final = 63


def partition_number(tile: int, index: int) -> int:
    """Return the number of a tile's partition."""
    return tile << INDEX_BITS | index


def owner(partition: int) -> int:
    """Return the only tile that may write a partition."""
    return partition >> INDEX_BITS


def place(offset: int, length: int) -> int:
    """Return the place word."""
    return offset << 32 | length


def lease(partition: int, generation: int) -> int:
    """Return the lease word with aux 0; with the buffer's offset as aux it is the release word."""
    return partition << 48 | generation << 32
