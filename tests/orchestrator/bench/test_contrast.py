from __future__ import annotations

import pytest

from dlibos_orchestrator.bench.contrast import (
    DISTRIBUTION,
    KERNEL,
    PROTECTION,
    THROUGHPUT,
    Contrast,
    Objective,
    Question,
    contrasts,
    summaries,
    verdicts,
)
from dlibos_orchestrator.bench.leg import FUSED, NGINX, PROTECTED, UNPROTECTED
from tests.orchestrator.bench.contests import leg, ten_rounds


def answer(question: Question, measure: str = THROUGHPUT) -> Contrast:
    found = contrasts(ten_rounds(), (64,), seed=1)
    [one] = [one for one in found if one.question is question and one.measure == measure]
    return one


def test_what_protection_costs_is_paired_within_rounds() -> None:
    mean, low, high = answer(PROTECTION).cost
    assert mean == pytest.approx(0.01, abs=1e-4)  # although rounds differ by 20 %
    assert 0.005 < low < mean < high < 0.015
    assert answer(PROTECTION, "p99").cost[0] == pytest.approx(0.0102, abs=1e-4)
    assert answer(PROTECTION, "CPU/request").cost[0] == pytest.approx(0.02)


def test_what_distribution_costs_is_another_question() -> None:
    assert answer(DISTRIBUTION).cost[0] == pytest.approx(0.5)
    assert answer(DISTRIBUTION, "CPU/request").cost[0] == pytest.approx(1.5)
    assert (DISTRIBUTION.ours, DISTRIBUTION.theirs) == (UNPROTECTED, FUSED)
    assert (PROTECTION.ours, PROTECTION.theirs) == (PROTECTED, UNPROTECTED)
    assert answer(KERNEL).ratio.mean == pytest.approx(0.8)


def test_legs_pair_up_by_round_whatever_their_order() -> None:
    shuffled = sorted(ten_rounds(), key=lambda one: (one.round * 7 % 10, one.server))
    assert contrasts(shuffled, (64,), seed=1) == contrasts(ten_rounds(), (64,), seed=1)


def test_counts_of_connections_are_kept_apart() -> None:
    legs = [*ten_rounds(), *(leg(number, server, 256) for number in (1, 2) for server in (PROTECTED, UNPROTECTED))]
    legs += [leg(number, server, 256) for number in (1, 2) for server in (FUSED, NGINX)]
    found = contrasts(legs, (64, 256), seed=1)
    assert {one.connections: one.ratio.pairs for one in found} == {64: 10, 256: 2}


def test_a_summary_splits_cpu_time_by_role() -> None:
    found = {one.server: one for one in summaries(ten_rounds(errors=1), (64,))}
    assert found[PROTECTED].roles == pytest.approx({"driver": 17.0, "stack": 17.0, "app": 17.0})
    assert found[PROTECTED].cpu_us_per_request == pytest.approx(51.0)
    assert found[FUSED].roles == pytest.approx({"fused": 20.0})
    assert found[NGINX].roles == {}
    assert found[NGINX].errors == 10


@pytest.mark.parametrize(
    ("name", "value", "met", "certain"),
    [
        ("overhead", 0.02, True, True),
        ("overhead", 0.0101, True, False),
        ("overhead", 0.0099, False, False),
        ("overhead", 0.001, False, True),
        ("fused", 0.7, True, True),
        ("fused", 0.9, False, True),
    ],
)
def test_an_objective_is_judged_by_the_mean_and_says_whether_the_interval_agrees(
    name: str, value: float, met: bool, certain: bool
) -> None:
    [one] = verdicts([Objective(name, value)], contrasts(ten_rounds(), (64,), seed=1))
    assert (one.met, one.certain, one.connections) == (met, certain, 64)
    assert one.low <= one.found <= one.high
