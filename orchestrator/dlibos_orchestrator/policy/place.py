"""Which coordinates a role gets: least traffic, weighed by hops (dimension-ordered X-Y routing).

What crosses the chip for one request is taken from the messages of node/dlibos_node/noc/tags.py, in words of 64 bits,
one word of header each (UDN), for a request and an answer that fit one frame:

    edge    driver  descriptors of 64 bytes in, 16 bytes out (mPIPE's rings, Linux arch/tile; payload by DMA)  10
    driver  stack   RX 3, TX_DONE 2                                                                       5
    stack   driver  TX 6 (meta, header, one payload descriptor), RELEASE 2                                8
    stack   app     RECV 4, SENT 3                                                                        7
    app     stack   SEND 4, RECV_DONE 3                                                                   7

Every driver talks to every stack tile and every stack tile to every app tile, all equally; mPIPE sits at row y = 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2

EDGE_WORDS: Final = 10
DRIVER_STACK_WORDS: Final = 5 + 8
STACK_APP_WORDS: Final = 7 + 7
SMALL: Final = 16  # cells up to which each pair of the best is swapped once more, and the search goes on from there
MANY: Final = 40  # cells; a larger mesh is searched from fewer starts
FREE: Final = mesh_pb2.ROLE_UNSPECIFIED

Distances = tuple[tuple[int, ...], ...]


class Counts(NamedTuple):
    """Tiles of each role that takes part in the traffic."""

    driver: int
    stack: int
    app: int


class Layout(NamedTuple):
    """The tiles of each role, each in ascending order."""

    drivers: tuple[int, ...]
    stacks: tuple[int, ...]
    apps: tuple[int, ...]


class Traffic(NamedTuple):
    """Means for one request, both ways: links crossed, and words times links crossed."""

    hops: float
    word_hops: float


def coordinates(tile: int, width: int) -> tuple[int, int]:
    """Return (x, y) of a tile id."""
    return tile % width, tile // width


@lru_cache(maxsize=32)
def distances(width: int, height: int) -> Distances:
    """Return the hops between any two tiles."""
    at = [coordinates(tile, width) for tile in range(width * height)]
    return tuple(tuple(abs(x - x1) + abs(y - y1) for x1, y1 in at) for x, y in at)


def traffic(width: int, height: int, layout: Layout) -> Traffic:
    """Return what a request costs on the NoC; 0 where a role has no tile."""
    hops = distances(width, height)
    edge = _mean(tile // width for tile in layout.drivers)
    near = _mean(hops[d][s] for d in layout.drivers for s in layout.stacks)
    far = _mean(hops[s][a] for s in layout.stacks for a in layout.apps)
    words = EDGE_WORDS * edge + DRIVER_STACK_WORDS * near + STACK_APP_WORDS * far
    return Traffic(2 * (edge + near + far), words)


def _mean(numbers: Iterable[int]) -> float:
    listed = list(numbers)
    return sum(listed) / len(listed) if listed else 0.0


@lru_cache(maxsize=32)
def best_layout(width: int, height: int, counts: Counts) -> Layout:
    """Return a placement of least traffic: by local search (swaps) from several starts, the same each time.

    A tie goes to the first start, which is row by row: drivers, stacks, apps. tests/orchestrator/policy proves the
    optimum on small meshes.
    """
    starts = _starts(width, height, counts)
    found = _Search(width, height, counts, next(starts)).run()
    if found[0] == counts.driver * counts.stack * counts.app * (DRIVER_STACK_WORDS + STACK_APP_WORDS):
        return _layout(found[1])  # all are neighbours, and the drivers sit at the edge: it cannot be better
    found = min([found, *(_Search(width, height, counts, roles).run() for roles in starts)], key=lambda one: one[0])
    while width * height <= SMALL:
        better = min((_Search(width, height, counts, roles).run() for roles in _shaken(found[1])), default=found)
        if better[0] >= found[0]:
            break
        found = better
    return _layout(found[1])


def row_major(counts: Counts) -> Layout:
    """Return the plain placement: by number, drivers, then stacks, then apps."""
    order = range(sum(counts))
    first = counts.driver + counts.stack
    return Layout(tuple(order[: counts.driver]), tuple(order[counts.driver : first]), tuple(order[first:]))


def _starts(width: int, height: int, counts: Counts) -> Iterator[list[int]]:
    """Yield the role of each cell (an index of Layout, from 1; 0: free): row by row, then around each centre."""
    cells, hops = width * height, distances(width, height)
    driver, stack, app = ([number] * count for number, count in enumerate(counts, 1))
    yield _filled(range(cells), driver + stack + app)
    step = 1 if cells <= MANY else cells // 3
    for centre in range(0, cells, step):
        order = sorted(range(cells), key=lambda cell: (hops[centre][cell], cell))
        for roles in (stack + driver + app, driver + stack + app, app + stack + driver):
            yield _filled(order, roles)


def _shaken(roles: Sequence[int]) -> Iterator[list[int]]:
    for one, other in combinations(range(len(roles)), 2):
        if roles[one] != roles[other]:
            shaken = list(roles)
            shaken[one], shaken[other] = roles[other], roles[one]
            yield shaken


def _layout(roles: Sequence[int]) -> Layout:
    return Layout(*(tuple(cell for cell, has in enumerate(roles) if has == role) for role in (1, 2, 3)))


def _filled(order: Sequence[int], roles: Sequence[int]) -> list[int]:
    filled = [0] * len(order)
    for cell, role in zip(order, roles, strict=False):
        filled[cell] = role
    return filled


class _Search:
    """Swaps of two cells for as long as one lowers the cost; sums of distances make a swap's effect O(1).

    The cost is kept in whole numbers: words times hops of a request, times drivers x stacks x apps.
    """

    def __init__(self, width: int, height: int, counts: Counts, roles: list[int]) -> None:
        self._hops = distances(width, height)
        self._cells = width * height
        self._role = roles
        self._near = DRIVER_STACK_WORDS * counts.app
        self._far = STACK_APP_WORDS * counts.driver
        edge = EDGE_WORDS * counts.stack * counts.app
        self._edge = [edge * (cell // width) for cell in range(self._cells)]
        self._sums = [[0] * self._cells for _ in range(4)]
        for cell, role in enumerate(self._role):
            self._count(cell, role, 1)

    def run(self) -> tuple[int, list[int]]:
        """Return the cost of the best that is found, and the role of each cell."""
        while self._sweep():
            pass
        return self._cost(), self._role

    def _cost(self) -> int:
        _, _, stacks, apps = self._sums
        cost = 0
        for cell, role in enumerate(self._role):
            if role == 1:
                cost += self._near * stacks[cell] + self._edge[cell]
            elif role == 2:
                cost += self._far * apps[cell]
        return cost

    def _sweep(self) -> bool:
        """Make every swap that helps, in order; tell whether there was one."""
        helped = False
        for one in range(self._cells):
            for other in range(one + 1, self._cells):
                if self._role[one] != self._role[other] and self._effect(one, other) < 0:
                    self._swap(one, other)
                    helped = True
        return helped

    def _effect(self, one: int, other: int) -> int:
        left, right = self._role[one], self._role[other]
        effect = self._leave(one, other, left) + self._leave(other, one, right)
        # Two that talk to each other keep their distance, which `_leave` counts as gone, once from each end.
        if left + right in (3, 5) and left and right:
            effect += 2 * (self._near if left + right == 3 else self._far) * self._hops[one][other]
        return effect

    def _leave(self, here: int, there: int, role: int) -> int:
        """Return the change when what is `here` is `there` instead, all others staying."""
        _, drivers, stacks, apps = self._sums
        if role == 1:
            return self._near * (stacks[there] - stacks[here]) + self._edge[there] - self._edge[here]
        if role == 2:
            return self._near * (drivers[there] - drivers[here]) + self._far * (apps[there] - apps[here])
        return self._far * (stacks[there] - stacks[here]) if role == 3 else 0

    def _swap(self, one: int, other: int) -> None:
        left, right = self._role[one], self._role[other]
        for cell, role, sign in ((one, left, -1), (other, right, -1), (one, right, 1), (other, left, 1)):
            self._count(cell, role, sign)
        self._role[one], self._role[other] = right, left

    def _count(self, cell: int, role: int, sign: int) -> None:
        if role:
            sums, hops = self._sums[role], self._hops[cell]
            for place in range(self._cells):
                sums[place] += sign * hops[place]
