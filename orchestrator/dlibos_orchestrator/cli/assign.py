"""`dlibos assign`: one tile's role, chosen by the user."""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError
from typing import Final

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.cli import changing
from dlibos_orchestrator.cli.parser import Subparsers, did_you_mean

NAME: Final = "assign"
ROLES: Final = {
    "driver": mesh_pb2.ROLE_DRIVER,
    "stack": mesh_pb2.ROLE_STACK,
    "app": mesh_pb2.ROLE_APP,
    "idle": mesh_pb2.ROLE_IDLE,
}


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="give a tile a role",
        description="Give a tile a role: it hands over what it has first, and keeps the new role whatever is scaled.",
    )
    changing.add_tile(parser)
    parser.add_argument("role", type=role, metavar="ROLE", help=f"{', '.join(ROLES)}; app.DOMAIN")
    parser.set_defaults(run=run)


def role(text: str) -> tuple[str, str]:
    """Return role and domain of "app.shop"."""
    name, _, domain = text.partition(".")
    if name not in ROLES:
        raise ArgumentTypeError(f"unknown role {name!r}{did_you_mean(name, ROLES)}")
    if domain and name != "app":
        raise ArgumentTypeError(f"{text!r}: only app tiles belong to a domain; write {name}")
    return name, domain


def run(args: argparse.Namespace) -> int:
    """Ask for the role."""
    name, domain = args.role
    pin = orchestrator_pb2.Pin(tile=args.tile, role=ROLES[name])
    if domain:
        mesh = changing.running_mesh(args.name).read_mesh()
        names = [one.name for one in mesh.domains]
        if domain not in names:
            args.parser.error(f"unknown domain {domain!r}{did_you_mean(domain, names)}")
        pin.domain = names.index(domain) + 1
    return changing.change(args, orchestrator_pb2.Request(assign=pin))
