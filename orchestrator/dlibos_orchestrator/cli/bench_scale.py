"""`dlibos bench scale`: does anybody notice when a mesh is scaled under load?"""

from __future__ import annotations

import argparse
from typing import Final

from dlibos_orchestrator.bench import scale
from dlibos_orchestrator.cli import bench_values, objective
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.output import notice, print_json, print_table

NAME: Final = "scale"
HEADER: Final = ("CHANGE", "SETTLED IN", "LONGEST ANSWER", "LONGEST GAP", "REQUESTS", "FAILED")
DESCRIPTION: Final = """\
Scale a mesh up and down under load, and count what its clients lost.

wrk holds its connections and asks without a pause; a witness compares every page over twenty kept connections and over
a new one every 20 ms. A round is: stack 1 -> 4 -> 1, app 1 -> 4 -> 1, driver 1 -> 2 -> 1.
The longest gap is the longest time between two newcomers that were served.
"""
EPILOG: Final = """\
Exit code: 0 nothing was lost, 1 something was, 2 usage.
Needs root (or a user namespace that may make a TAP device), and: apt-get install wrk util-linux
"""


def add(subparsers: Subparsers) -> None:
    """Add the benchmark."""
    parser = subparsers.add_parser(
        NAME,
        help="scale a mesh under load, and count what is lost",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=bench_values.rounds, default=10, metavar="N", help="how often (10)")
    parser.add_argument("--connections", type=objective.connections, default=200, metavar="N", help="of wrk (200)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print")
    parser.set_defaults(benchmark=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Scale, and print what was lost."""
    result = scale.run(scale.Plan(args.rounds, args.connections), notice)
    if args.output == "json":
        print_json(as_json(result))
    else:
        print_result(result)
    return 1 if result.failures else 0


def as_json(result: scale.Result) -> dict[str, object]:
    """Return the result as a JSON object."""
    return {
        "steps": [{**step._asdict(), "account": step.account._asdict()} for step in result.steps],
        "load": result.load._asdict(),
        "resets": result.resets,
        "failures": result.failures,
    }


def print_result(result: scale.Result) -> None:
    """Print the worst of each kind of change, and the sum."""
    changes = dict.fromkeys((step.role, step.tiles) for step in result.steps)
    print_table(HEADER, [_row([s for s in result.steps if (s.role, s.tiles) == change]) for change in changes])
    load = result.load
    print(
        f"\n{len(result.steps)} changes; wrk: {load.requests:,} requests, {load.per_second:,.0f}/s, "
        f"{load.errors} errors; {result.resets} connections reset"
    )


def _row(steps: list[scale.Step]) -> tuple[str, ...]:
    accounts = [step.account for step in steps]
    seconds = sorted(step.seconds for step in steps)
    return (
        f"{steps[0].role} -> {steps[0].tiles}",
        f"{seconds[len(seconds) // 2]:.2f} s (at most {seconds[-1]:.2f})",
        f"{max(account.longest for account in accounts) * 1e3:.0f} ms",
        f"{max(account.gap for account in accounts) * 1e3:.0f} ms",
        f"{sum(account.requests for account in accounts):,}",
        str(sum(account.failures for account in accounts)),
    )
