"""`dlibos place`: which tile would play which role, or does, and what that costs a request in links crossed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.cli import values
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.errors import MeshStateError, UsageError
from dlibos_orchestrator.model.options import MeshOptions, check_name
from dlibos_orchestrator.model.placement import place
from dlibos_orchestrator.output import print_json
from dlibos_orchestrator.policy.layout import layout
from dlibos_orchestrator.policy.place import (
    DRIVER_STACK_WORDS,
    EDGE_WORDS,
    STACK_APP_WORDS,
    Counts,
    Layout,
    Traffic,
    coordinates,
    distances,
    row_major,
    traffic,
)
from dlibos_orchestrator.runtime.directory import mesh_directory
from dlibos_orchestrator.runtime.observe import role_name

NAME: Final = "place"
SHAPE: Final = ("mesh", "driver", "stack", "app", "idle")
LETTERS: Final = {
    mesh_pb2.ROLE_DRIVER: "D",
    mesh_pb2.ROLE_STACK: "S",
    mesh_pb2.ROLE_APP: "A",
    mesh_pb2.ROLE_IDLE: "i",
    mesh_pb2.ROLE_FUSED: "F",
}
LEGEND: Final = "D driver   S stack   A app   i idle   . free        y = 0 is the edge where packets come in"

Roles = Mapping[int, "mesh_pb2.Role.ValueType"]


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="show which tile plays which role",
        description="Show how roles would be placed, and how many links a request would cross; starts nothing.",
    )
    parser.add_argument("--mesh", type=values.mesh_size, metavar="WxH", help="size of the mesh (6x6)")
    for role, default in (("driver", 1), ("stack", 1), ("app", 1), ("idle", 0)):
        parser.add_argument(f"--{role}", type=values.count, metavar="N", help=f"{role} tiles ({default})")
    parser.add_argument("--name", metavar="NAME", help="the map of this mesh as it runs, in place of a new one")
    parser.add_argument("--explain", action="store_true", help="say where the links and words come from")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print (table)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the map. UsageError for a mesh that cannot be, MeshStateError for one that is not up."""
    width, height, roles = _present(args) if args.name is not None else _planned(args)
    found = layout(roles)
    counts = Counts(*map(len, found))
    if args.output == "json":
        print_json(_as_json(width, height, roles))
        return 0
    print(grid(width, height, roles))
    print(LEGEND)
    if all(counts):
        plain = traffic(width, height, row_major(counts))
        print(summary(traffic(width, height, found), plain))
        if args.explain:
            print(explain(width, height, found))
    return 0


def grid(width: int, height: int, roles: Roles) -> str:
    """Return the map, a row of tiles a line; each tile is a letter and its number."""
    lines = ["y\\x " + "".join(f"{x:<6}" for x in range(width)).rstrip()]
    for y in range(height):
        tiles = range(y * width, (y + 1) * width)
        cells = [f"{LETTERS[roles[tile]]} {tile}" if tile in roles else "." for tile in tiles]
        lines.append(f"{y:<4}" + "".join(f"{cell:<6}" for cell in cells).rstrip())
    return "\n".join(lines)


def summary(found: Traffic, plain: Traffic) -> str:
    """Return what a request costs, beside the placement row by row."""
    return (
        f"a request crosses {found.hops:.2f} links (placed row by row: {plain.hops:.2f}) "
        f"and costs {found.word_hops:.1f} words x links (row by row: {plain.word_hops:.1f})"
    )


def explain(width: int, height: int, found: Layout) -> str:
    """Return the parts of the cost, one line each."""
    hops = distances(width, height)
    near = [hops[driver][stack] for driver in found.drivers for stack in found.stacks]
    far = [hops[stack][app] for stack in found.stacks for app in found.apps]
    parts = (
        ("edge - driver", [driver // width for driver in found.drivers], EDGE_WORDS),
        ("driver - stack", near, DRIVER_STACK_WORDS),
        ("stack - app", far, STACK_APP_WORDS),
    )
    lines = [
        f"{name:<15}{sum(links) / len(links):5.2f} links x {words:2} words = {sum(links) / len(links) * words:6.1f}"
        f"   (nearest {min(links)}, farthest {max(links)})"
        for name, links, words in parts
    ]
    return "\n".join([*lines, "words both ways for a request and an answer of one frame each: policy/place.py"])


def _planned(args: argparse.Namespace) -> tuple[int, int, Roles]:
    width, height = args.mesh or (MeshOptions.width, MeshOptions.height)
    counts = {role: getattr(args, role) for role in SHAPE[1:] if getattr(args, role) is not None}
    options = MeshOptions(width=width, height=height, **counts)
    options.check()
    return width, height, place(options)


def _present(args: argparse.Namespace) -> tuple[int, int, Roles]:
    check_name(args.name)
    if given := [f"--{flag}" for flag in SHAPE if getattr(args, flag) is not None]:
        raise UsageError(f"--name shows a mesh as it runs; leave {', '.join(given)} out, or --name")
    directory = mesh_directory(args.name)
    if not directory.mesh_file.exists():
        raise MeshStateError(f"no mesh {args.name!r} is up; start one with `dlibos up`, or leave --name out")
    mesh = directory.read_mesh()
    return mesh.width, mesh.height, {entry.tile: entry.role for entry in mesh.tiles}


def _as_json(width: int, height: int, roles: Roles) -> dict[str, Any]:
    found = layout(roles)
    counts = Counts(*map(len, found))
    tiles = [
        {"tile": tile, "x": coordinates(tile, width)[0], "y": coordinates(tile, width)[1], "role": role_name(role)}
        for tile, role in sorted(roles.items())
    ]
    costs = {
        "request": traffic(width, height, found)._asdict(),
        "row_major": traffic(width, height, row_major(counts))._asdict(),
    }
    return {"width": width, "height": height, "tiles": tiles, **(costs if all(counts) else {})}
