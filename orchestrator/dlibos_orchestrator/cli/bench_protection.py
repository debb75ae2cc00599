"""`dlibos bench protection`: what protection costs, and, apart from it, what distribution costs."""

from __future__ import annotations

import argparse
import secrets
from argparse import ArgumentTypeError
from typing import Final

from dlibos_orchestrator.bench import protection, protection_json, protection_report
from dlibos_orchestrator.bench.contrast import Objective
from dlibos_orchestrator.cli import bench_values
from dlibos_orchestrator.cli.bench_values import MISSED
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.output import notice, print_json

NAME: Final = "protection"
OBJECTIVES: Final = ("overhead", "fused")
DESCRIPTION: Final = """\
Measure what protection costs: the same mesh protected and unprotected, fused into one tile, and nginx with one worker.

All four are up at once and are loaded in turns by wrk with one thread, each in its own network namespace, on one page
of 128 bytes. In every round and for every count of connections each has one leg. Protected and unprotected are always
loaded one right after the other; the order is drawn, its seed printed, and every second round is the mirror image of
the one before. Costs are means of paired log ratios within a round with a 95 % confidence interval (Student's t),
beside which a bootstrap's stands; the output says how wide the interval is.

  cost of PROTECTION    protected against unprotected: the same tiles, the same messages
  cost of DISTRIBUTION  unprotected against fused: what tiles and gRPC between them cost; nothing to do with protection
  fused against nginx   what a library OS in one process comes to beside a kernel server

Where protection's time goes is measured in one process without gRPC (python -m dlibos_node.cost), with its parts
switched on one after the other; their sum stands beside the whole, which is measured apart.
"""
EPILOG: Final = """\
Exit code: 0 measured, 1 failed or answers were wrong, 2 usage, 3 an --objective was missed.
Needs root (or a user namespace that may make a TAP device), and: apt-get install wrk nginx-light iproute2
"""


def add(subparsers: Subparsers) -> None:
    """Add the benchmark."""
    parser = subparsers.add_parser(
        NAME,
        help="what protection costs",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench_values.add_tiles(parser)
    values = bench_values
    parser.add_argument(
        "--connections", type=values.connections, default=(64, 256), metavar="64,256", help="counts (64,256)"
    )
    parser.add_argument(
        "--rounds", type=values.rounds, default=10, metavar="N", help="rounds, better not less than 10 (10)"
    )
    parser.add_argument(
        "--duration", type=values.seconds, default=2, metavar="2s", help="of each leg, in whole seconds (2s)"
    )
    parser.add_argument("--seed", type=values.seed, metavar="N", help="of the order (drawn)")
    parser.add_argument(
        "--objective",
        type=objectives,
        default=(),
        metavar="overhead=0.02,fused=0.7",
        help="most throughput that protection may cost; least ratio of fused to nginx",
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print")
    parser.set_defaults(benchmark=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Run the benchmark and print what it came to."""
    result = protection.run(plan(args), notice)
    if args.output == "json":
        print_json(protection_json.as_json(result))
    else:
        protection_report.print_report(result)
    return verdict(result)


def plan(args: argparse.Namespace) -> protection.ProtectionPlan:
    """Return what the flags ask for."""
    return protection.ProtectionPlan(
        driver=args.driver,
        stack=args.stack,
        app=args.app,
        connections=tuple(sorted(set(args.connections))),
        rounds=args.rounds,
        seconds=args.duration,
        seed=secrets.randbelow(10_000) if args.seed is None else args.seed,
        objectives=args.objective,
    )


def verdict(result: protection.ProtectionResult) -> int:
    """Return the exit code, with a line for what was not as it should be."""
    missed = [one for one in result.verdicts if not one.met]
    for one in missed:
        notice(f"objective missed: {one.objective.name}={one.objective.value:g} at {one.connections} connections")
    if result.errors:
        notice(f"{result.errors} requests failed or got no 2xx answer: the figures do not hold; see column ERRORS")
        return 1
    return MISSED if missed else 0


def objectives(text: str) -> tuple[Objective, ...]:
    """Return the objectives of "overhead=0.02,fused=0.7"."""
    return tuple(_objective(item) for item in text.split(","))


def _objective(text: str) -> Objective:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if name not in OBJECTIVES or not 0.0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not NAME=NUMBER with a name of {', '.join(OBJECTIVES)}")
    return Objective(name, number)
