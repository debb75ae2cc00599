"""`dlibos events`: what the orchestrator does with a mesh, and why."""

from __future__ import annotations

import argparse
import time
from typing import Final

from dlibos.control.v1 import orchestrator_pb2
from google.protobuf import json_format

from dlibos_orchestrator import control
from dlibos_orchestrator.cli import changing
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime.observe import observe

NAME: Final = "events"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="what happens to a mesh",
        description="List what the orchestrator did with a mesh since its start, at most the last thousand.",
    )
    parser.add_argument("--name", default=MeshOptions.name, help="name of the mesh (default)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")
    parser.add_argument(
        "--initial-state", action="store_true", help="begin with the state of each tile, in place of what has happened"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: one object a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the events."""
    directory = changing.running_mesh(args.name)
    if args.initial_state:
        events = [
            orchestrator_pb2.Event(time=time.time(), kind=row.state, tile=row.tile, text=row.role)
            for row in observe(directory)
        ]
    else:
        events = list(control.ask(directory, orchestrator_pb2.Request(list_events=True)).events)
    for event in events:
        show(event, args.output)
    if args.follow:
        for event in control.follow_events(directory):
            show(event, args.output)
    return 0


def show(event: orchestrator_pb2.Event, output: str) -> None:
    """Print one event on a line."""
    if output == "json":
        print(json_format.MessageToJson(event, indent=None, preserving_proto_field_name=True), flush=True)
        return
    clock = time.strftime("%H:%M:%S", time.localtime(event.time)) + f".{int(event.time % 1 * 1000):03d}"
    tile = "-" if event.tile < 0 else str(event.tile)
    print(f"{clock}  {tile:>4}  {event.kind:<10}  {event.text}", flush=True)
