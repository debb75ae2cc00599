"""Who is loaded when. Pure: the same seed gives the same order.

The servers stand in a chain in which those that are compared are neighbours: protected, unprotected, fused, nginx. A
round goes along it from any server but `unprotected`, one way or the other, back to the start at the end; so the pair
that differs least is always loaded one right after the other. The next round takes the mirror image, which cancels what
changes steadily over two rounds (ABBA). Starting points, directions and the counts of connections are drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from dlibos_orchestrator.bench.leg import FUSED, NGINX, PROTECTED, UNPROTECTED

CHAIN: Final = (PROTECTED, UNPROTECTED, FUSED, NGINX)


class Block(NamedTuple):
    """All servers once, under one count of connections, in one round."""

    round: int
    connections: int
    servers: tuple[str, ...]


def orders() -> list[tuple[str, ...]]:
    """Return every order in which protected and unprotected are neighbours along the chain."""
    turned = [(*CHAIN[start:], *CHAIN[:start]) for start in range(len(CHAIN)) if CHAIN[start] != UNPROTECTED]
    return [*turned, *(order[::-1] for order in turned)]


def schedule(rounds: int, connections: Sequence[int], seed: int) -> Iterator[Block]:
    """Yield the blocks of all rounds, numbered from 1."""
    draw = random.Random(seed)  # noqa: S311  # the order is printed, not hidden
    last: dict[int, tuple[str, ...]] = {}
    for number in range(1, rounds + 1):
        for count in draw.sample(connections, len(connections)):
            last[count] = last[count][::-1] if number % 2 == 0 else draw.choice(orders())
            yield Block(number, count, last[count])
