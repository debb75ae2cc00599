"""`dlibos top`: what each tile of a mesh has to do."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from dlibos_orchestrator import control
from dlibos_orchestrator.cli import changing, values
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.control import Loads
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.output import mebibytes, print_json, print_table
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.observe import observe

NAME: Final = "top"
HEADER: Final = ("TILE", "AT", "ROLE", "STATE", "BUSY", "CONNECTIONS", "FRAMES/S", "RSS")
CLEAR: Final = "\x1b[H\x1b[2J"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="what each tile has to do",
        description="Show what each tile has to do, busiest first: again and again on a terminal, else once.",
    )
    parser.add_argument("--name", default=MeshOptions.name, help="name of the mesh (default)")
    parser.add_argument("--once", action="store_true", help="show it once")
    parser.add_argument(
        "--interval", type=values.duration, default=2.0, metavar="2s", help="time over which it is measured (2s)"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show it."""
    directory = changing.running_mesh(args.name)
    again = sys.stdout.isatty() and not args.once and args.output == "table"
    for loads in control.watch_loads(directory, max(args.interval, control.LOAD_EVERY)):
        rows = measured(directory, loads)
        if args.output == "json":
            print_json(rows)
        else:
            print(CLEAR if again else "", end="")
            print_table(HEADER, [_cells(row) for row in rows])
        if not again:
            return 0
    return 0


def measured(directory: MeshDirectory, loads: Loads) -> list[dict[str, object]]:
    """Return a row for each tile, the busiest first; None for what a tile did not say in time."""
    rows: list[dict[str, object]] = []
    for tile in observe(directory):
        load = loads.get(tile.tile)
        rows.append(
            {
                "tile": tile.tile, "x": tile.x, "y": tile.y, "role": tile.role, "state": tile.state,
                "busy": None if load is None else round(load.busy, 3),
                "connections": None if load is None else load.connections,
                "frames_per_second": None if load is None else round(load.frames_per_second, 1),
                "rss_bytes": tile.rss_bytes,
            }
        )  # fmt: skip
    return sorted(rows, key=lambda row: -float(str(row["busy"] or 0)))


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    busy, connections, frames = row["busy"], row["connections"], row["frames_per_second"]
    return (
        str(row["tile"]),
        f"{row['x']},{row['y']}",
        str(row["role"]),
        str(row["state"]),
        "-" if busy is None else f"{float(str(busy)) * 100:.0f} %",
        "-" if connections is None else str(connections),
        "-" if frames is None else f"{float(str(frames)):,.0f}",
        mebibytes(int(str(row["rss_bytes"]))),
    )
