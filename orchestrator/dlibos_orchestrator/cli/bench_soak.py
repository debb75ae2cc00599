"""`dlibos bench soak`: what many requests and many deaths leave behind in the tiles that live on."""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError
from typing import Final

from dlibos_orchestrator.bench import soak
from dlibos_orchestrator.cli import bench_values
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.output import mebibytes, notice, print_json, print_table

NAME: Final = "soak"
HEADER: Final = ("TILE", "ROLE", "BUFFERS", "CONNECTIONS", "DESCRIPTORS", "MAPPINGS", "RSS")
MULTIPLES: Final = {"k": 1_000, "M": 1_000_000}
DESCRIPTION: Final = """\
Soak a mesh of two driver, two stack and two app tiles, and look for what leaks.

wrk keeps all of them busy while the second tile of a role, drawn at random, is killed and started again, over and over.
The first ones live through it all. At rest, before and after, the table shows what each of them holds: buffers (leased,
taken or in flight), connections, descriptors, mappings of partitions, resident memory. More than before is a leak.
"""
EPILOG: Final = """\
Exit code: 0 nothing leaked, 1 something did or a tile did not live through it, 2 usage.
Needs root (or a user namespace that may make a TAP device), and: apt-get install wrk util-linux
"""


def add(subparsers: Subparsers) -> None:
    """Add the benchmark."""
    parser = subparsers.add_parser(
        NAME,
        help="look for leaks over many requests and deaths",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=number, default=1_000_000, metavar="10M", help="at least so many (1M)")
    parser.add_argument("--deaths", type=number, default=100, metavar="1k", help="so many tiles are killed (100)")
    parser.add_argument("--seed", type=bench_values.seed, default=1, metavar="N", help="of the order of deaths (1)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print")
    parser.set_defaults(benchmark=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Soak, and print what is left."""
    result = soak.run(soak.SoakPlan(args.requests, args.deaths, args.seed), notice)
    if args.output == "json":
        print_json(as_json(result))
    else:
        print_result(result)
    for leak in result.leaks:
        notice(f"leaked: {leak}")
    return 1 if result.leaks else 0


def as_json(result: soak.SoakResult) -> dict[str, object]:
    """Return the result as a JSON object."""
    return {
        "requests": result.requests,
        "deaths": result.deaths,
        "seconds": round(result.seconds, 1),
        "before": [one._asdict() for one in result.before],
        "after": [one._asdict() for one in result.after],
        "leaks": result.leaks,
    }


def print_result(result: soak.SoakResult) -> None:
    """Print what the tiles that lived on hold, before and after."""
    print(f"{result.requests:,} requests, {result.deaths:,} deaths, {result.seconds:.0f} s; before -> after, at rest\n")
    print_table(HEADER, [_row(*pair) for pair in zip(result.before, result.after, strict=True)])


def _row(before: soak.Holdings, after: soak.Holdings) -> tuple[str, ...]:
    names = ("buffers", "connections", "descriptors", "mappings")
    counts = [f"{getattr(before, name)} -> {getattr(after, name)}" for name in names]
    return str(before.tile), before.role, *counts, f"{mebibytes(before.rss_bytes)} -> {mebibytes(after.rss_bytes)}"


def number(text: str) -> int:
    """Return the number of "10M", "50k" or "1000"."""
    digits, multiple = (text[:-1], MULTIPLES[text[-1]]) if text[-1:] in MULTIPLES else (text, 1)
    if not digits.isdecimal() or len(digits) > 9:
        raise ArgumentTypeError(f"{text!r} is not a count, such as 1000, 50k or 10M")
    return int(digits) * multiple
