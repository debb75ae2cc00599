from __future__ import annotations

from itertools import combinations, product

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.policy.layout import best_to_join, best_to_leave
from dlibos_orchestrator.policy.place import (
    DRIVER_STACK_WORDS,
    EDGE_WORDS,
    STACK_APP_WORDS,
    Counts,
    Layout,
    best_layout,
    distances,
    row_major,
    traffic,
)

GRIDS = [(1, 4), (4, 1), (2, 2), (3, 2), (2, 3), (3, 3), (4, 3)]


def least(width: int, height: int, counts: Counts) -> float:
    """Try every set of stack and driver tiles: given these, the app tiles are those next to all stacks."""
    cells, hops = range(width * height), distances(width, height)
    best = float("inf")
    for stacks in combinations(cells, counts.stack):
        far = {cell: sum(hops[cell][stack] for stack in stacks) for cell in cells if cell not in stacks}
        for drivers in combinations(far, counts.driver):
            apps = sorted(far[cell] for cell in far if cell not in drivers)[: counts.app]
            edge = sum(driver // width for driver in drivers) / counts.driver
            near = sum(far[driver] for driver in drivers) / (counts.driver * counts.stack)
            words = EDGE_WORDS * edge + DRIVER_STACK_WORDS * near
            best = min(best, words + STACK_APP_WORDS * sum(apps) / (counts.stack * counts.app))
    return best


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_the_placement_is_the_best_there_is(grid: tuple[int, int]) -> None:
    width, height = grid
    for counts in map(Counts._make, product(range(1, 4), range(1, 4), range(1, 5))):
        if sum(counts) <= width * height:
            found = traffic(width, height, best_layout(width, height, counts)).word_hops
            assert found == pytest.approx(least(width, height, counts)), counts


def test_one_tile_of_each_role_lies_side_by_side_at_the_edge() -> None:
    assert best_layout(6, 6, Counts(1, 1, 1)) == Layout((0,), (1,), (2,))


@pytest.mark.parametrize("counts", [Counts(1, 4, 8), Counts(2, 8, 16), Counts(4, 12, 20)], ids=str)
def test_a_full_size_mesh_is_placed_better_than_row_by_row_and_the_same_each_time(counts: Counts) -> None:
    first = best_layout(6, 6, counts)
    best_layout.cache_clear()
    assert best_layout(6, 6, counts) == first
    assert traffic(6, 6, first).word_hops < traffic(6, 6, row_major(counts)).word_hops
    tiles = [tile for part in first for tile in part]
    assert len(set(tiles)) == sum(counts)
    assert tuple(map(len, first)) == counts


def test_traffic_counts_words_and_links_both_ways() -> None:
    # driver (0,0) -> stack (1,1): 2 hops; stack -> apps (2,1) and (3,1): 1 and 2; the driver sits at the edge
    measured = traffic(6, 6, Layout((0,), (7,), (8, 9)))
    assert measured.hops == 2 * (0 + 2 + 1.5)
    assert measured.word_hops == DRIVER_STACK_WORDS * 2 + STACK_APP_WORDS * 1.5
    assert traffic(6, 6, Layout((6,), (7,), (8,))).word_hops == EDGE_WORDS + DRIVER_STACK_WORDS + STACK_APP_WORDS


def test_growth_takes_the_best_of_what_there_is_and_moves_nobody() -> None:
    roles = {0: mesh_pb2.ROLE_DRIVER, 1: mesh_pb2.ROLE_STACK, 2: mesh_pb2.ROLE_APP}
    assert best_to_join(6, 6, roles, mesh_pb2.ROLE_APP, range(3, 36)) == 7
    assert best_to_join(6, 6, roles, mesh_pb2.ROLE_APP, [20, 21, 22]) == 20
    assert best_to_leave(6, 6, {**roles, 7: mesh_pb2.ROLE_APP, 35: mesh_pb2.ROLE_APP}, [2, 7, 35]) == 35
