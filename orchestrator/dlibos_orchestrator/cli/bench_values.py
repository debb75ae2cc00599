"""Values of the benchmarks' flags, and the flags they share."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Final

from dlibos_orchestrator.cli import objective, values
from dlibos_orchestrator.cli.parser import Parser

MISSED: Final = 3  # exit code: objective missed
MAX_ROUNDS: Final = 1000


def add_tiles(parser: Parser) -> None:
    """Add --driver, --stack and --app."""
    for role in ("driver", "stack", "app"):
        parser.add_argument(f"--{role}", type=values.count, default=1, metavar="N", help=f"{role} tiles (1)")


def connections(text: str) -> tuple[int, ...]:
    """Return the counts of "64,256"."""
    return tuple(objective.connections(item) for item in text.split(","))


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


def seed(text: str) -> int:
    """Return a seed."""
    if not text.isdecimal() or len(text) > 9:
        raise ArgumentTypeError(f"{text!r} is not a whole number below 10^9")
    return int(text)
