"""`dlibos autoscale`: let a policy move tiles to the role that has most to do."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos.control.v1 import orchestrator_pb2

from dlibos_orchestrator.cli import changing, values
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.errors import UsageError

NAME: Final = "autoscale"
DESCRIPTION: Final = """\
Move idle tiles to the role that has most to do, and take them back when it has little.

A role whose tiles are busier than --high on the mean for --hold gets a tile; one below --low gives one back. Between
two changes --rest passes. With --dry-run nothing is changed: for each role a line says what the policy sees.
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
    parser.add_argument("--high", type=share, default=0.75, metavar="0.75", help="busy, from 0 to 1 (0.75)")
    parser.add_argument("--low", type=share, default=0.25, metavar="0.25", help="little to do (0.25)")
    parser.add_argument("--hold", type=values.duration, default=5.0, metavar="5s", help="how long, first (5s)")
    parser.add_argument("--rest", type=values.duration, default=15.0, metavar="15s", help="between two changes (15s)")
    changing.add_flags(parser)
    parser.set_defaults(run=run)


def share(text: str) -> float:
    """Return a part of 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a part of 1, such as 0.75")
    return value


def run(args: argparse.Namespace) -> int:
    """Switch it."""
    if args.low >= args.high:
        raise UsageError(f"--low {args.low} must be less than --high {args.high}, or tiles would come and go for ever")
    if args.switch == "off":
        return changing.change(args, orchestrator_pb2.Request(autoscale_off=True))
    policy = orchestrator_pb2.Autoscale(high=args.high, low=args.low, hold=args.hold, rest=args.rest)
    return changing.change(args, orchestrator_pb2.Request(autoscale=policy))
