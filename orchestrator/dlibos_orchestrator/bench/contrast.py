"""What the legs of `bench protection` come to: each server's medians, and what is compared with what. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from dlibos_orchestrator.bench.estimate import Ratio, paired_ratio
from dlibos_orchestrator.bench.leg import FUSED, NGINX, PROTECTED, UNPROTECTED, Leg
from dlibos_orchestrator.bench.schedule import CHAIN
from dlibos_orchestrator.bench.summary import MICROSECONDS, Spread, spread

THROUGHPUT: Final = "throughput"
MEASURES: Final[dict[str, Callable[[Leg], float]]] = {
    THROUGHPUT: lambda leg: leg.load.per_second,
    "p50": lambda leg: leg.load.p50,
    "p99": lambda leg: leg.load.p99,
    "CPU/request": lambda leg: leg.server_cpu / leg.load.requests,
}


class Question(NamedTuple):
    """Two servers and what their difference means."""

    name: str
    ours: str
    theirs: str
    meaning: str


PROTECTION: Final = Question(
    "protection", PROTECTED, UNPROTECTED, "the same tiles and messages, with and without protection"
)
DISTRIBUTION: Final = Question(
    "distribution", UNPROTECTED, FUSED, "three tiles and gRPC between them against one tile; no protection in either"
)
KERNEL: Final = Question("nginx", FUSED, NGINX, "one tile at user level against a kernel server with one worker")
QUESTIONS: Final = (PROTECTION, DISTRIBUTION, KERNEL)


class ServerSummary(NamedTuple):
    """One server under one count of connections: medians over the rounds. Latencies in seconds.

    `roles`: CPU microseconds per request of the tiles of each role; empty for nginx.
    """

    server: str
    connections: int
    requests_per_second: Spread
    p50: float
    p99: float
    cpu_us_per_request: float
    roles: dict[str, float]
    errors: int


class Contrast(NamedTuple):
    """One answer: `ratio` is ours over theirs."""

    question: Question
    connections: int
    measure: str
    ratio: Ratio

    @property
    def cost(self) -> tuple[float, float, float]:
        """What ours costs beyond theirs, as a part of theirs: mean, low, high. Less throughput and more of all else."""
        mean, low, high = self.ratio[:3]
        return (1 - mean, 1 - high, 1 - low) if self.measure == THROUGHPUT else (mean - 1, low - 1, high - 1)


class Objective(NamedTuple):
    """`name` "overhead": the most throughput protection may cost; "fused": the least ratio of fused to nginx."""

    name: str
    value: float

    @property
    def question(self) -> Question:
        """What it is about."""
        return PROTECTION if self.name == "overhead" else KERNEL

    def found(self, contrast: Contrast) -> tuple[float, float, float]:
        """Return the figure that is compared, and its interval."""
        return contrast.cost if self.question is PROTECTION else contrast.ratio[:3]

    def met(self, figure: float) -> bool:
        """Tell whether a figure is good enough."""
        return figure <= self.value if self.question is PROTECTION else figure >= self.value


class Verdict(NamedTuple):
    """How an objective came out under one count of connections. `certain`: so would all of the interval."""

    objective: Objective
    connections: int
    found: float
    low: float
    high: float
    met: bool
    certain: bool


def summaries(legs: Sequence[Leg], connections: Sequence[int]) -> list[ServerSummary]:
    """Return one for every count of connections and server."""
    return [_summary(_of(legs, server, count)) for count in connections for server in CHAIN]


def contrasts(legs: Sequence[Leg], connections: Sequence[int], seed: int) -> list[Contrast]:
    """Return the answers to all questions under all counts of connections; legs pair up within their round."""
    return [
        Contrast(question, count, name, _ratio(legs, question, count, measure, seed))
        for question in QUESTIONS
        for count in connections
        for name, measure in MEASURES.items()
    ]


def verdicts(objectives: Sequence[Objective], found: Sequence[Contrast]) -> list[Verdict]:
    """Judge each objective by the throughput under every count of connections."""
    return [
        _verdict(objective, contrast)
        for objective in objectives
        for contrast in found
        if contrast.question is objective.question and contrast.measure == THROUGHPUT
    ]


def _verdict(objective: Objective, contrast: Contrast) -> Verdict:
    found, low, high = objective.found(contrast)
    met = objective.met(found)
    certain = objective.met(low) == met and objective.met(high) == met
    return Verdict(objective, contrast.connections, found, low, high, met, certain)


def _of(legs: Sequence[Leg], server: str, connections: int) -> list[Leg]:
    mine = [leg for leg in legs if leg.server == server and leg.connections == connections]
    return sorted(mine, key=lambda leg: leg.round)


def _ratio(
    legs: Sequence[Leg], question: Question, connections: int, measure: Callable[[Leg], float], seed: int
) -> Ratio:
    ours, theirs = (_of(legs, server, connections) for server in (question.ours, question.theirs))
    return paired_ratio([measure(leg) for leg in ours], [measure(leg) for leg in theirs], seed)


def _summary(legs: Sequence[Leg]) -> ServerSummary:
    return ServerSummary(
        server=legs[0].server,
        connections=legs[0].connections,
        requests_per_second=spread([leg.load.per_second for leg in legs]),
        p50=statistics.median(leg.load.p50 for leg in legs),
        p99=statistics.median(leg.load.p99 for leg in legs),
        cpu_us_per_request=statistics.median(map(MEASURES["CPU/request"], legs)) * MICROSECONDS,
        roles=_roles(legs),
        errors=sum(leg.load.errors for leg in legs),
    )


def _roles(legs: Sequence[Leg]) -> dict[str, float]:
    def spent(leg: Leg, role: str) -> float:
        return sum(use.cpu_seconds for use in leg.tiles if use.role == role) / leg.load.requests

    names = dict.fromkeys(use.role for use in legs[0].tiles)
    return {role: statistics.median(spent(leg, role) for leg in legs) * MICROSECONDS for role in names}
