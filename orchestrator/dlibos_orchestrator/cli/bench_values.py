"""Values of the benchmarks' flags, and the flags they share."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Final

from dlibos_orchestrator.bench import nginx
from dlibos_orchestrator.bench.summary import Objective
from dlibos_orchestrator.cli import values
from dlibos_orchestrator.cli.parser import Parser

MISSED: Final = 3  # exit code: objective missed
MAX_ROUNDS: Final = 1000


def add_tiles(parser: Parser) -> None:
    """Add --driver, --stack and --app."""
    for role in ("driver", "stack", "app"):
        parser.add_argument(f"--{role}", type=values.count, default=1, metavar="N", help=f"{role} tiles (1)")


def connections(text: str) -> tuple[int, ...]:
    """Return the counts of "64,256"."""
    return tuple(_connections(item) for item in text.split(","))


def rounds(text: str) -> int:
    """Return a number of rounds."""
    number = values.count(text)
    if not 1 <= number <= MAX_ROUNDS:
        raise ArgumentTypeError(f"{text!r} rounds; expected 1 to {MAX_ROUNDS}")
    return number


def seconds(text: str) -> int:
    """Return the seconds of "3s": wrk takes whole ones."""
    value = values.duration(text)
    if value < 1 or value != int(value):
        raise ArgumentTypeError(f"{text!r}: wrk takes whole seconds, such as 3s")
    return int(value)


def objectives(text: str) -> tuple[Objective, ...]:
    """Return the objectives of "64=0.20,256=0.35"."""
    return tuple(_objective(item) for item in text.split(","))


def _objective(text: str) -> Objective:
    count, _, floor = text.partition("=")
    try:
        value = float(floor)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not CONNECTIONS=RATIO, such as 64=0.20")
    return Objective(_connections(count), value)


def _connections(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= nginx.MAX_CONNECTIONS):
        raise ArgumentTypeError(f"{text!r} is not a count of connections from 1 to {nginx.MAX_CONNECTIONS}")
    return int(text)
