"""What the commands have in common that change a running mesh: flags, the request, the wait, what is printed."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos.control.v1 import orchestrator_pb2

from dlibos_orchestrator import control
from dlibos_orchestrator.cli import values
from dlibos_orchestrator.cli.parser import Parser
from dlibos_orchestrator.cli.ps import as_json, print_tiles
from dlibos_orchestrator.errors import MeshStateError
from dlibos_orchestrator.model.options import MeshOptions, check_name
from dlibos_orchestrator.output import notice, print_json
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.observe import observe

DEFAULT_TIMEOUT: Final = 60.0  # seconds


def add_flags(parser: Parser) -> None:
    """Add the flags of a command that changes a mesh."""
    parser.add_argument("--name", default=MeshOptions.name, help="name of the mesh (default)")
    parser.add_argument("--wait", action="store_true", help="return when it is done")
    parser.add_argument(
        "--timeout", type=values.duration, default=DEFAULT_TIMEOUT, metavar="60s", help="longest --wait (60s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("-o", "--output", choices=("table", "wide", "json"), default="table", help="how to print")


def add_tile(parser: Parser) -> None:
    """Add the tile that a command is about, and the flags of a command that changes a mesh."""
    parser.add_argument("tile", type=values.count, metavar="TILE", help="its number, as `dlibos ps` shows it")
    add_flags(parser)


def running_mesh(name: str) -> MeshDirectory:
    """Return the directory of a mesh that is up; UsageError, MeshStateError."""
    check_name(name)
    directory = mesh_directory(name)
    if not directory.mesh_file.exists():
        raise MeshStateError(f"no mesh {name!r} is up; start one with `dlibos up`")
    return directory


def change(args: argparse.Namespace, request: orchestrator_pb2.Request) -> int:
    """Have the orchestrator change the mesh; print the steps of a dry run, else the tiles."""
    directory = running_mesh(args.name)
    request.dry_run = args.dry_run
    reply = control.ask(directory, request)
    if args.dry_run:
        _print_steps(list(reply.steps), args.output)
        return 0
    for step in reply.steps:
        notice(step)
    if args.wait:
        control.wait_settled(directory, reply.spec.version, args.timeout, notice)
    rows = observe(directory)
    if args.output == "json":
        print_json(as_json(rows))
    else:
        print_tiles(rows, wide=args.output == "wide")
    return 0


def _print_steps(steps: list[str], output: str) -> None:
    if output == "json":
        print_json(steps)
        return
    for step in steps:
        print(step)
    if not steps:
        notice("nothing is to be done: the mesh is like that already")
