"""`dlibos restart`: a tile's process ends in order, and a new one takes its place."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos.control.v1 import orchestrator_pb2

from dlibos_orchestrator.cli import changing
from dlibos_orchestrator.cli.parser import Subparsers

NAME: Final = "restart"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="start a tile's process anew",
        description="Start a tile's process anew. Where others of its role can take over what it has, nobody notices.",
    )
    changing.add_tile(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask for it."""
    return changing.change(args, orchestrator_pb2.Request(restart=args.tile))
