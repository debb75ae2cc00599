"""`dlibos validate FILE`: all that is wrong in a mesh file, without starting anything."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from dlibos_orchestrator.cli import up, values
from dlibos_orchestrator.cli.meshfile import problems_of
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.errors import UsageError

NAME: Final = "validate"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="check a mesh file",
        description="Say all that is wrong in a mesh file, one line each, and exit with 2; or that nothing is.",
    )
    parser.add_argument("file", type=values.path, metavar="FILE", help="mesh file (TOML)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is wrong on stderr; 2 when something is."""
    problems = problems_of(args.file, up.mesh_parser())
    for problem in problems:
        print(f"dlibos: {problem}", file=sys.stderr)
    if not problems:
        print(f"{args.file}: ok")
    return UsageError.exit_code if problems else 0
