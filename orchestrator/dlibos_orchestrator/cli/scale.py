"""`dlibos scale`: more or fewer tiles of a role, while the mesh runs."""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError
from typing import Final

from dlibos.control.v1 import orchestrator_pb2

from dlibos_orchestrator.cli import changing, values
from dlibos_orchestrator.cli.parser import Subparsers, did_you_mean

NAME: Final = "scale"
ROLES: Final = ("driver", "stack", "app", "idle")
DESCRIPTION: Final = """\
Have more or fewer tiles of a role, while the mesh runs. Nobody loses a request.

  dlibos scale driver=1 stack=4 app=8 --wait
  dlibos scale app.shop=4             app tiles of the protection domain `shop`

Roles that are not named keep their count. Tiles that lose their role hand over what they have, and are idle then.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="more or fewer tiles of a role, live",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("counts", nargs="+", type=count, metavar="ROLE=N", help="driver, stack, app, app.DOMAIN, idle")
    changing.add_flags(parser)
    parser.set_defaults(run=run)


def count(text: str) -> tuple[str, str, int]:
    """Return role, domain and count of "app.shop=4"."""
    word, equals, number = text.partition("=")
    role, _, domain = word.partition(".")
    if not equals:
        raise ArgumentTypeError(f"{text!r} is not ROLE=N, such as stack=4")
    if role not in ROLES:
        raise ArgumentTypeError(f"unknown role {role!r}{did_you_mean(role, ROLES)}")
    if domain and role != "app":
        raise ArgumentTypeError(f"{text!r}: only app tiles belong to a domain; write {role}={number}")
    return role, domain, values.count(number)


def run(args: argparse.Namespace) -> int:
    """Ask for the counts."""
    scale = orchestrator_pb2.Scale()
    for role, domain, number in args.counts:
        if role == "app":
            scale.app[domain] = number
        else:
            setattr(scale, role, number)
    return changing.change(args, orchestrator_pb2.Request(scale=scale))
