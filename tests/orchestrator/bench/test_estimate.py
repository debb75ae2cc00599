from __future__ import annotations

import math
import random

import pytest

from dlibos_orchestrator.bench.estimate import T95, bootstrap, interval, paired_ratio, t95


def test_the_interval_is_student_s() -> None:
    # Mean 3, standard deviation sqrt(2.5), 4 degrees of freedom: 3 +- 2.776 * sqrt(2.5 / 5).
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found == pytest.approx((3.0, 3 - 2.776 * math.sqrt(0.5), 3 + 2.776 * math.sqrt(0.5)))
    assert found.half_width == pytest.approx(2.776 * math.sqrt(0.5))


def test_one_value_says_nothing_of_its_uncertainty() -> None:
    assert interval([7.0]) == (7.0, -math.inf, math.inf)
    alone = paired_ratio([2.0], [1.0], seed=1)
    assert (alone.mean, alone.low, alone.high) == (2.0, 0.0, math.inf)


@pytest.mark.parametrize(("freedom", "factor"), [(1, 12.706), (9, 2.262), (21, 2.086), (59, 2.021), (10_000, 1.980)])
def test_between_two_entries_the_wider_one_holds(freedom: int, factor: float) -> None:
    assert t95(freedom) == factor


def test_the_table_falls() -> None:
    factors = [T95[freedom] for freedom in sorted(T95)]
    assert factors == sorted(factors, reverse=True)


def test_a_ratio_does_not_care_what_disturbs_both_alike() -> None:
    calm, shaken = [100.0] * 4, [100.0, 50.0, 200.0, 10.0]
    still = paired_ratio([98.0] * 4, calm, seed=1)
    assert still.mean == pytest.approx(0.98)
    moved = paired_ratio([0.98 * value for value in shaken], shaken, seed=1)
    assert moved.mean == pytest.approx(0.98)
    assert moved.high - moved.low == pytest.approx(0.0, abs=1e-9)


def test_swapping_the_servers_inverts_the_ratio() -> None:
    ours, theirs = [90.0, 110.0, 95.0], [100.0, 100.0, 105.0]
    there, back = paired_ratio(ours, theirs, seed=1), paired_ratio(theirs, ours, seed=1)
    assert back.mean == pytest.approx(1 / there.mean)
    assert (back.low, back.high) == pytest.approx((1 / there.high, 1 / there.low))
    assert there.pairs == 3


def test_the_bootstrap_lies_within_the_values_and_is_the_same_for_a_seed() -> None:
    values = [1.0, 2.0, 3.0, 10.0]
    low, high = bootstrap(values, seed=4)
    assert 1.0 <= low < sum(values) / 4 < high <= 10.0
    assert bootstrap(values, seed=4) == (low, high)


def test_the_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    draw = random.Random(5)
    covered = sum(
        low <= 1.0 <= high
        for _, low, high in (interval([draw.gauss(1.0, 0.3) for _ in range(10)]) for _ in range(2000))
    )
    assert 0.935 <= covered / 2000 <= 0.965
