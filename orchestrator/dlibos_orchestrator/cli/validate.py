"""`dlibos validate`: what is wrong in a mesh file, all of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from dlibos_orchestrator.cli import up, values
from dlibos_orchestrator.cli.config import examine
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.output import notice, print_json

NAME: Final = "validate"
INVALID: Final = 2


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="look for mistakes in a mesh file",
        description="Say all that is wrong in a mesh file; exit code 2 if anything is.",
    )
    parser.add_argument("file", type=values.path, metavar="FILE", help="mesh.toml; see `dlibos config`")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: a list of problems")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look."""
    _, problems = read(args.file)
    if args.output == "json":
        print_json(problems)
    for problem in problems if args.output == "table" else ():
        print(problem)
    if not problems:
        notice(f"{args.file} describes a mesh")
    return INVALID if problems else 0


def read(file: Path | None) -> tuple[MeshOptions, list[str]]:
    """Return the mesh that a file describes, the default one without a file; and all that is wrong with it."""
    parser = up.flags()
    args = parser.parse_args([])
    problems: list[str] = []
    if file is not None:
        found, problems = examine(file, parser)
        up.merge_config(args, found)
    options = up.mesh_options(args)
    if not problems:
        try:
            options.check()
        except UsageError as error:
            problems.append(f"{file}: {error}")
    return options, problems
