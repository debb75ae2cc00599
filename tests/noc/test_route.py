"""Dimension-ordered routing on a grid."""

from __future__ import annotations

from itertools import pairwise, permutations, product

from dlibos_node.noc.route import Grid


def test_a_route_goes_along_x_first_then_along_y() -> None:
    grid = Grid(6, 6)
    assert grid.path(0, 14) == [0, 1, 2, 8, 14]
    assert grid.path(14, 0) == [14, 13, 12, 6, 0]


def test_every_step_crosses_one_link_and_the_hops_count_them() -> None:
    grid = Grid(4, 3)
    for source, target in product(range(grid.tiles), repeat=2):
        path = grid.path(source, target)
        assert path[0] == source
        assert path[-1] == target
        assert len(path) - 1 == grid.hops(source, target)
        for a, b in pairwise(path):
            assert abs(a - b) in (1, grid.width)


def test_the_mean_and_the_longest_distance_on_a_tile_gx36() -> None:
    """FACTS: mean hop distance between two different tiles 4.0, maximum 10."""
    grid = Grid(6, 6)
    hops = [grid.hops(a, b) for a, b in permutations(range(grid.tiles), 2)]
    assert sum(hops) / len(hops) == 4.0
    assert max(hops) == 10
