"""`dlibos logs`: what the processes of a mesh have said."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos_orchestrator.cli import values
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.errors import MeshStateError
from dlibos_orchestrator.model.options import MeshOptions, check_name
from dlibos_orchestrator.runtime.directory import mesh_directory

NAME: Final = "logs"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME, help="print what the tiles have said", description="Print the log of one tile, or of every process."
    )
    parser.add_argument("tile", nargs="?", type=values.count, metavar="TILE", help="tile id (all processes)")
    parser.add_argument("--name", default=MeshOptions.name, help="name of the mesh (default)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the logs, each line with the process it came from unless it is one tile's."""
    check_name(args.name)
    directory = mesh_directory(args.name)
    if not directory.path.exists():
        raise MeshStateError(f"no mesh {args.name!r} is up; start one with `dlibos up`")
    if args.tile is not None:
        log = directory.log_file(f"tile-{args.tile}")
        if not log.exists():
            raise MeshStateError(f"mesh {args.name!r} has no tile {args.tile}; see `dlibos ps`")
        print(log.read_text(errors="replace"), end="")
        return 0
    for log in sorted((directory.path / "log").glob("*.log")):
        for line in log.read_text(errors="replace").splitlines():
            print(f"{log.stem}: {line}")
    return 0
