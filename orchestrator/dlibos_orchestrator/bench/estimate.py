"""Ratios of two servers from paired legs: mean, confidence interval, and what a bootstrap says of it. Pure.

What disturbs a leg, another guest of the machine or its clock rate, mostly disturbs its neighbour too and acts as a
factor. So legs are compared within a round, by the logarithm of their ratio, and the rounds' logarithms are averaged.
Their spread gives the interval, by Student's t; a percentile bootstrap (Efron 1979) of the same values assumes no
distribution and shows whether one odd round carries the result.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 2000

# Student's t, two-sided 95 %, by degrees of freedom (Fisher and Yates 1963, table III); between two entries the lower
# one holds, which errs on the wide side.
T95: Final = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 11: 2.201,
    12: 2.179, 13: 2.160, 14: 2.145, 15: 2.131, 16: 2.120, 17: 2.110, 18: 2.101, 19: 2.093, 20: 2.086, 22: 2.074,
    24: 2.064, 26: 2.056, 28: 2.048, 30: 2.042, 40: 2.021, 60: 2.000, 120: 1.980,
}  # fmt: skip


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


class Ratio(NamedTuple):
    """A mean ratio of `pairs` pairs: by Student's t, and the percentiles of a bootstrap."""

    mean: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    pairs: int


def t95(freedom: int) -> float:
    """Return the factor for `freedom` >= 1 degrees of freedom."""
    return T95[max(known for known in T95 if known <= freedom)]


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of at least one value; of one alone the interval is infinite."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = t95(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float], seed: int) -> Ratio:
    """Return the geometric mean of ours / theirs, pair by pair; all values must be positive."""
    logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    mean, low, high = interval(logs)
    lower, upper = bootstrap(logs, seed)
    return Ratio(math.exp(mean), math.exp(low), _exp(high), math.exp(lower), math.exp(upper), len(logs))


def bootstrap(values: Sequence[float], seed: int) -> tuple[float, float]:
    """Return the percentiles that enclose 95 % of the means of resamples."""
    draw = random.Random(seed)  # noqa: S311  # resampling needs no secret
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    cut = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return means[cut], means[-1 - cut]


def _exp(value: float) -> float:
    return math.inf if value == math.inf else math.exp(value)
