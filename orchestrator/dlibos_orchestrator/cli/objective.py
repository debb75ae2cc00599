"""`dlibos bench --objective`: the bars a benchmark must reach, as in 64=0.20,1:p50=1ms."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError

from dlibos_orchestrator.bench import nginx
from dlibos_orchestrator.bench.summary import LATENCIES, Objective
from dlibos_orchestrator.cli import values
from dlibos_orchestrator.cli.parser import did_you_mean


def objectives(text: str) -> tuple[Objective, ...]:
    """Return the objectives of "64=0.20,1:p50=1ms"."""
    return tuple(_objective(item) for item in text.split(","))


def connections(text: str) -> int:
    """Return a count of connections that can be measured."""
    if not (text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= nginx.MAX_CONNECTIONS):
        raise ArgumentTypeError(f"{text!r} is not a count of connections from 1 to {nginx.MAX_CONNECTIONS}")
    return int(text)


def _objective(text: str) -> Objective:
    where, _, bar = text.partition("=")
    count, colon, figure = where.partition(":")
    if not colon:
        return Objective(connections(count), _ratio(text, bar))
    if figure not in LATENCIES:
        raise ArgumentTypeError(f"{text!r}: unknown figure {figure!r}{did_you_mean(figure, LATENCIES)}")
    return Objective(connections(count), values.duration(bar), figure)


def _ratio(text: str, bar: str) -> float:
    try:
        value = float(bar)
    except ValueError:
        value = 0.0
    if not 0.0 < value < math.inf:
        raise ArgumentTypeError(f"{text!r} is not CONNECTIONS=RATIO, such as 64=0.20, or such as 1:p50=1ms")
    return value
