"""`dlibos demo`: one request's way across the chip, shown and measured, from nothing to nothing."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.demo.run import demonstrate
from dlibos_orchestrator.model.options import NIC_CHOICES

NAME: Final = "demo"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="show the mesh at work, then take it down",
        description="Bring up 1 driver, 1 stack and 1 app tile, use and measure them, and take them down.",
    )
    parser.add_argument("--nic", choices=NIC_CHOICES, default="auto", help="network interface (auto)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demonstration."""
    return demonstrate(args.nic)
