"""`dlibos ps`: the tiles of a mesh, as the process table and the tiles themselves tell it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.model.options import MeshOptions, check_name
from dlibos_orchestrator.output import mebibytes, notice, print_json, print_table
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.observe import TileRow, has_orchestrator, lost, observe
from dlibos_orchestrator.runtime.processes import scan

NAME: Final = "ps"
HEADER: Final = ("TILE", "AT", "ROLE", "STATE", "PID", "RSS", "METRICS", "NIC")
WIDE: Final = ("CORE", "OFFLOADS", "FAULTS", "PROBLEM")


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(NAME, help="list the tiles of a mesh", description="List the tiles of a mesh.")
    parser.add_argument("--name", default=MeshOptions.name, help="name of the mesh (default)")
    parser.add_argument("-o", "--output", choices=("table", "wide", "json"), default="table", help="how to print")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tiles; none when there is no such mesh."""
    check_name(args.name)
    directory = mesh_directory(args.name)
    rows = observe(directory) if directory.mesh_file.exists() else []
    if args.output == "json":
        print_json(as_json(rows))
    elif rows:
        print_tiles(rows, wide=args.output == "wide")
    if rows:
        _tell_losses(args.name, directory)
    else:
        notice(f"no mesh {args.name!r} is up; start one with `dlibos up`")
    return 0


def _tell_losses(name: str, directory: MeshDirectory) -> None:
    running = scan(directory.path)
    if missing := lost(directory.read_mesh(), running):
        notice(f"mesh {name!r} has lost {', '.join(missing)}; run `dlibos down --name {name}` and `dlibos up`")
    elif not has_orchestrator(running):
        notice(
            f"mesh {name!r} has lost its orchestrator: tiles that end stay dead; run `dlibos up --name {name}` again"
        )


def as_json(rows: Sequence[TileRow]) -> list[dict[str, object]]:
    """Return rows as JSON objects."""
    return [row._asdict() for row in rows]


def print_tiles(rows: Sequence[TileRow], wide: bool) -> None:
    """Print the rows as a table."""
    print_table(HEADER + (WIDE if wide else ()), [_cells(row, wide) for row in rows])


def _cells(row: TileRow, wide: bool) -> tuple[str, ...]:
    narrow = (
        str(row.tile),
        f"{row.x},{row.y}",
        row.role,
        row.state,
        str(row.pid or "-"),
        mebibytes(row.rss_bytes),
        str(row.metrics_port or "-"),
        row.nic or "-",
    )
    if not wide:
        return narrow
    return (
        *narrow,
        "compiled" if row.compiled else "pure",
        ",".join(row.offloads) or "-",
        str(row.faults),
        row.problem or "-",
    )
