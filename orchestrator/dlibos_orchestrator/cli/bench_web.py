"""`dlibos bench web`: how fast the mesh is, beside a kernel server in the same run."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos_orchestrator.bench import report, web
from dlibos_orchestrator.cli import bench_values, objective, values
from dlibos_orchestrator.cli.bench_values import MISSED
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.output import notice, print_json

NAME: Final = "web"
DESCRIPTION: Final = """\
Compare the mesh with nginx, by wrk with one thread, on one page of 128 bytes over kept-alive connections.

The mesh is brought up for this (bench-PID) and serves the page by its driver, stack and app tiles behind a kernel TAP
device. nginx, with one worker, serves the same directory from a network namespace of its own behind a veth pair. wrk
runs in the mesh's network namespace for both. In every round, for every count of connections, one server is loaded and
then the other; who comes first alternates. A ratio is the mesh's requests per second over nginx's within one round; the
tables give medians over the rounds, with the range. One connection is always measured too: nothing can be batched then,
and its p50 is the latency of a request that meets no other. CPU time is that of whole processes, per request; a batch
is the NoC messages in one gRPC message, as the tile receives them. Client and servers share the machine's CPUs.
"""
EPILOG: Final = """\
Exit code: 0 measured, 1 failed or answers were wrong, 2 usage, 3 an --objective was missed.
Needs root (or a user namespace that may make a TAP device), and: apt-get install wrk nginx-light iproute2
"""


def add(subparsers: Subparsers) -> None:
    """Add the benchmark."""
    parser = subparsers.add_parser(
        NAME,
        help="the mesh beside nginx",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench_values.add_tiles(parser)
    parser.add_argument("--mesh", type=values.mesh_size, default=(6, 6), metavar="WxH", help="size of the mesh (6x6)")
    parser.add_argument(
        "--connections",
        type=bench_values.connections,
        default=(64, 256),
        metavar="64,256",
        help="counts, besides 1 (64,256)",
    )
    parser.add_argument("--rounds", type=bench_values.rounds, metavar="N", help="rounds, better not less than 5 (5)")
    parser.add_argument(
        "--duration", type=bench_values.seconds, metavar="3s", help="of each load, in whole seconds (3s)"
    )
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1s: does it work at all?")
    parser.add_argument(
        "--objective",
        type=objective.objectives,
        default=(),
        metavar="64=0.20,1:p50=1ms",
        help="least ratio, longest p50 or p99 of the mesh, by connections",
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print")
    parser.set_defaults(benchmark=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Run the benchmark and print what it came to."""
    result = web.run(plan(args), notice)
    if args.output == "json":
        print_json(report.as_json(result))
    else:
        report.print_report(result)
    return verdict(result)


def plan(args: argparse.Namespace) -> web.WebPlan:
    """Return what the flags ask for; UsageError for an objective that would not be measured."""
    counts = tuple(sorted({web.LATENCY_CONNECTIONS, *args.connections}))
    for wanted in args.objective:
        if wanted.connections not in counts:
            more = ",".join(map(str, sorted({*args.connections, wanted.connections})))
            raise UsageError(
                f"--objective: {wanted.connections} connections are not measured; use --connections {more}"
            )
    return web.WebPlan(
        mesh=args.mesh,
        driver=args.driver,
        stack=args.stack,
        app=args.app,
        connections=counts,
        rounds=args.rounds or (2 if args.quick else 5),
        seconds=args.duration or (1 if args.quick else 3),
        objectives=args.objective,
    )


def verdict(result: web.WebResult) -> int:
    """Return the exit code, with a line for what was not as it should be."""
    for missed in result.missed:
        wanted = report.figure(missed.figure, missed.bar)
        was = report.figure(missed.figure, missed.reached(result.comparisons))
        notice(f"objective missed: {wanted} at {missed.connections} connections, was {was}")
    if result.errors:
        notice(f"{result.errors} requests failed or got no 2xx answer: the figures do not hold; see column ERRORS")
        return 1
    return MISSED if result.missed else 0
