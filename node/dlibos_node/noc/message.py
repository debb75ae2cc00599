"""The unit of the NoC: one header word, then at most 126 payload words of 64 bits (TILE-Gx UDN packet, tmc/udn.h).

     63          48 47          32 31          16 15       8 7 6        0
    +--------------+--------------+--------------+----------+-+----------+
    | destination  |    source    |     tag      |  queue   |0|  length  |
    +--------------+--------------+--------------+----------+-+----------+

Source and destination are tile numbers (y * width + x), the tag says what the message means to the receiver's role
(`tags`), the queue names one of its 4 demux queues, the length counts payload words.
"""

from __future__ import annotations

from typing import Final

MAX_WORDS: Final = 126
QUEUES: Final = 4
MAX_TILE: Final = 0x3FF  # ten bits, so that a partition's number can carry its owner (memory.descriptor)

LENGTH_MASK: Final = 0x7F
QUEUE_SHIFT: Final = 8
TAG_SHIFT: Final = 16
ROUTE_SHIFT: Final = 32


def header(destination: int, source: int, tag: int, queue: int, length: int) -> int:
    """Pack a header word; the caller keeps it, since most messages of one kind have the same."""
    return destination << 48 | source << 32 | tag << TAG_SHIFT | queue << QUEUE_SHIFT | length


def route(destination: int, source: int) -> int:
    """Return the upper half of the headers of one direction of a link: what the receiver compares."""
    return destination << 16 | source


def fit(words: list[int], credit: int) -> int:
    """Return how many of `words`, cut between two messages, cost no more than `credit` words."""
    end = 0
    while end < len(words):
        after = end + 1 + (words[end] & LENGTH_MASK)
        if after > credit:
            break
        end = after
    return end
