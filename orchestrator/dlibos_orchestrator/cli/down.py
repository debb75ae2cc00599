"""`dlibos down`: take a mesh down and leave nothing of it."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.model.options import MeshOptions, check_name
from dlibos_orchestrator.output import notice
from dlibos_orchestrator.runtime import local

NAME: Final = "down"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME, help="take a mesh down", description="End every process of a mesh and remove its directory."
    )
    parser.add_argument("--name", default=MeshOptions.name, help="name of the mesh (default)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take the mesh down; it is no failure if there is none."""
    check_name(args.name)
    if local.down(args.name):
        notice(f"mesh {args.name!r} is down")
    else:
        notice(f"no mesh {args.name!r} is up; nothing to take down")
    return 0
