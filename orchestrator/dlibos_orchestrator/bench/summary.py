"""What the rounds come to. Pure: legs in, medians with their range out; ratios are paired within a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from dlibos_orchestrator.bench.leg import MESH, NGINX, Leg, TileUse

MICROSECONDS: Final = 1e6
ALL_TILES: Final = -1  # stands for the sum of all tiles
RATIO: Final = "ratio"
LATENCIES: Final = ("p50", "p99")


class Spread(NamedTuple):
    """Median, smallest and largest of the rounds."""

    median: float
    low: float
    high: float


class ServerSummary(NamedTuple):
    """One server under one count of connections. Latencies: medians over the rounds, in seconds."""

    requests_per_second: Spread
    p50: float
    p99: float
    cpu_us_per_request: float
    client_cpu_us_per_request: float
    errors: int


class TileCost(NamedTuple):
    """Medians over the rounds. `mean_batch`: messages per gRPC frame received, of pure credits too."""

    tile: int
    role: str
    cpu_us_per_request: float
    messages_per_request: float
    mean_batch: float
    hops_per_request: float


class Comparison(NamedTuple):
    """Both servers under one count of connections. `tiles` ends with the sum of all, as tile ALL_TILES."""

    connections: int
    mesh: ServerSummary
    nginx: ServerSummary
    ratio: Spread
    tiles: tuple[TileCost, ...]


class Objective(NamedTuple):
    """A bar under a count of connections: the least median RATIO, or the longest p50 or p99 of the mesh in seconds."""

    connections: int
    bar: float
    figure: str = RATIO

    def reached(self, comparisons: Sequence[Comparison]) -> float:
        """Return the figure as it was measured; the connections must have been."""
        one = next(one for one in comparisons if one.connections == self.connections)
        return one.ratio.median if self.figure == RATIO else getattr(one.mesh, self.figure)

    def met(self, comparisons: Sequence[Comparison]) -> bool:
        """Tell whether the figure is on the right side of the bar."""
        reached = self.reached(comparisons)
        return reached >= self.bar if self.figure == RATIO else reached <= self.bar


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def compare(legs: Sequence[Leg], connections: int) -> Comparison:
    """Compare the servers under `connections`, of which every round has a leg for each."""
    mesh = _of(legs, MESH, connections)
    nginx = _of(legs, NGINX, connections)
    ratios = [one.load.per_second / other.load.per_second for one, other in zip(mesh, nginx, strict=True)]
    tiles = [_tile_cost(mesh, index) for index in range(len(mesh[0].tiles))]
    return Comparison(connections, _server(mesh), _server(nginx), spread(ratios), (*tiles, _all_tiles(mesh)))


def _of(legs: Sequence[Leg], server: str, connections: int) -> list[Leg]:
    """The order within a round alternates; by round, legs of both servers pair up."""
    mine = [leg for leg in legs if leg.server == server and leg.connections == connections]
    return sorted(mine, key=lambda leg: leg.round)


def _server(legs: Sequence[Leg]) -> ServerSummary:
    return ServerSummary(
        requests_per_second=spread([leg.load.per_second for leg in legs]),
        p50=statistics.median(leg.load.p50 for leg in legs),
        p99=statistics.median(leg.load.p99 for leg in legs),
        cpu_us_per_request=_per_request(legs, lambda leg: leg.server_cpu) * MICROSECONDS,
        client_cpu_us_per_request=_per_request(legs, lambda leg: leg.client_cpu) * MICROSECONDS,
        errors=sum(leg.load.errors for leg in legs),
    )


def _per_request(legs: Sequence[Leg], value: Callable[[Leg], float]) -> float:
    return statistics.median(value(leg) / leg.load.requests for leg in legs)


def _tile_cost(legs: Sequence[Leg], index: int) -> TileCost:
    tile = legs[0].tiles[index]
    return _cost(tile.tile, tile.role, [(leg, leg.tiles[index]) for leg in legs])


def _all_tiles(legs: Sequence[Leg]) -> TileCost:
    return _cost(ALL_TILES, "all", [(leg, _total(leg.tiles)) for leg in legs])


def _total(uses: Sequence[TileUse]) -> TileUse:
    return TileUse(
        ALL_TILES,
        "all",
        sum(use.cpu_seconds for use in uses),
        sum(use.messages for use in uses),
        sum(use.frames for use in uses),
        sum(use.hops for use in uses),
    )


def _cost(tile: int, role: str, uses: Sequence[tuple[Leg, TileUse]]) -> TileCost:
    def median(value: Callable[[TileUse], float]) -> float:
        return statistics.median(value(use) / leg.load.requests for leg, use in uses)

    return TileCost(
        tile=tile,
        role=role,
        cpu_us_per_request=median(lambda use: use.cpu_seconds) * MICROSECONDS,
        messages_per_request=median(lambda use: use.messages),
        mean_batch=statistics.median(use.messages / max(use.frames, 1.0) for _, use in uses),
        hops_per_request=median(lambda use: use.hops),
    )
