"""`dlibos drain`: a tile hands over what it has and is idle then."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos.control.v1 import orchestrator_pb2

from dlibos_orchestrator.cli import changing
from dlibos_orchestrator.cli.parser import Subparsers

NAME: Final = "drain"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="take a tile out of service",
        description="Take a tile out of service: others of its role take over what it has, and it is idle then.",
    )
    changing.add_tile(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask for it."""
    return changing.change(args, orchestrator_pb2.Request(drain=args.tile))
