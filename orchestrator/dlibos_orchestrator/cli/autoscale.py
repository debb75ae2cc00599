"""`dlibos autoscale`: let a policy move tiles to the role that has most to do."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos.control.v1 import orchestrator_pb2

from dlibos_orchestrator.cli import changing, values
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.model.options import AutoscaleLimits

NAME: Final = "autoscale"
DESCRIPTION: Final = """\
Move idle tiles to the role that has most to do, and take them back when it has little.

A role whose tiles are busier than `high` on the mean for `hold` gets a tile; one below `low` gives one back. Between
two changes `rest` passes. With --dry-run nothing is changed: for each role a line says what the policy sees.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="let a policy scale the mesh",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("switch", choices=("on", "off"), help="begin, or stop")
    parser.add_argument(
        "limits",
        nargs="?",
        type=values.autoscale,
        default=AutoscaleLimits(),
        metavar="high=0.8,low=0.2,hold=5s,rest=15s",
        help="those left out are as here",
    )
    changing.add_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Switch it."""
    if args.switch == "off":
        return changing.change(args, orchestrator_pb2.Request(autoscale_off=True))
    args.limits.check()
    policy = orchestrator_pb2.Autoscale(**vars(args.limits))
    return changing.change(args, orchestrator_pb2.Request(autoscale=policy))
