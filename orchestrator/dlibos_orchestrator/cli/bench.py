"""`dlibos bench`: the benchmarks, one module each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from types import ModuleType
from typing import Final, cast

from dlibos_orchestrator.cli import bench_heal, bench_protection, bench_scale, bench_soak, bench_web
from dlibos_orchestrator.cli.parser import Parser, Subparsers

NAME: Final = "bench"
BENCHMARKS: Final[Sequence[ModuleType]] = (bench_web, bench_protection, bench_soak, bench_scale, bench_heal)


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="measure speed, what protection costs, and what leaks",
        description="Measure on this machine, interleaved.",
    )
    benchmarks = parser.add_subparsers(metavar="BENCHMARK", dest="what", required=True, parser_class=Parser)
    for benchmark in BENCHMARKS:
        benchmark.add(benchmarks)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the benchmark that was asked for."""
    return cast(int, args.benchmark(args))
