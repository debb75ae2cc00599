"""`dlibos up`: bring a mesh up."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.cli import values
from dlibos_orchestrator.cli.meshfile import mesh_options, read_file
from dlibos_orchestrator.cli.parser import Parser, Subparsers
from dlibos_orchestrator.cli.ps import as_json, print_tiles
from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.options import BROKERS, NIC_CHOICES, PROTECTIONS, MeshOptions
from dlibos_orchestrator.output import notice, print_json
from dlibos_orchestrator.runtime import local
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.observe import nic_name, observe

NAME: Final = "up"
DEFAULT_TIMEOUT: Final = 30.0  # seconds


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(NAME, help="bring a mesh up", description="Bring a mesh up. Again: it stays up.")
    parser.add_argument("file", nargs="?", type=values.path, metavar="FILE", help="mesh file (TOML); flags override it")
    parser.add_argument("--config", type=values.path, metavar="FILE", help="the same")
    _add_flags(parser)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print the tiles")
    parser.set_defaults(run=run)


def _add_flags(parser: Parser) -> None:
    add_mesh_flags(parser)
    parser.add_argument("--wait", action="store_const", const=True, help="return when every tile is ready")
    parser.add_argument("--timeout", type=values.duration, metavar="30s", help="longest --wait (30s)")


def add_mesh_flags(parser: Parser) -> None:
    """Add the flags that describe a mesh. Their default is None: the flag was not given."""
    for role, default in (("driver", 1), ("stack", 1), ("app", 1), ("idle", 0)):
        parser.add_argument(f"--{role}", type=values.count, metavar="N", help=f"{role} tiles ({default})")
    parser.add_argument("--app-kind", metavar="KIND", help="what the app tiles run (web)")
    parser.add_argument("--root", type=values.path, metavar="DIR", help="web: directory of static files")
    parser.add_argument(
        "--publish",
        type=values.published,
        action="append",
        metavar="[HOST:]8080:80",
        help="make a port of the mesh reachable on this machine; repeatable (user-mode NIC: 127.0.0.1:8080:80)",
    )
    parser.add_argument("--nic", choices=NIC_CHOICES, help="network interface (auto: tap where it can be had)")
    parser.add_argument(
        "--broker", choices=BROKERS, help="the bus between orchestrator and tiles: in the orchestrator, or Mosquitto"
    )
    parser.add_argument("--pcap", type=values.path, metavar="DIR", help="record frames, one file per driver")
    parser.add_argument(
        "--fault", type=values.faults, metavar="loss=0.01,seed=3", help="seeded faults at the interface"
    )
    parser.add_argument(
        "--protection",
        choices=PROTECTIONS,
        help="protected (default); unprotected: the same tiles, nothing sealed or checked; fused: one tile does all "
        "(--driver says how many such tiles)",
    )
    parser.add_argument(
        "--domain",
        type=values.domain,
        action="append",
        metavar="name=a,port=80,app=2",
        help="a protection domain: its application (kind=web, root=DIR), port and app tiles; repeatable, in place of "
        "--app, --app-kind and --root",
    )
    parser.add_argument(
        "--tune", type=values.tunables, metavar="KEY=VALUE,...", help=f"set any of {', '.join(values.TUNABLES)}"
    )
    parser.add_argument(
        "--autoscale",
        type=values.autoscale,
        metavar="high=0.8,low=0.2,hold=5s,rest=15s",
        help="move idle tiles to the role that has most to do, and back",
    )
    parser.add_argument("--name", metavar="NAME", help="name of the mesh (default)")
    parser.add_argument("--mesh", type=values.mesh_size, metavar="WxH", help="size of the mesh (6x6)")


def run(args: argparse.Namespace) -> int:
    """Bring the mesh up and print its tiles."""
    if args.file is not None and args.config is not None:
        raise UsageError(f"two mesh files: {args.file} and --config {args.config}; name one")
    if (file := args.file or args.config) is not None:
        merge_config(args, read_file(file, args.parser))
    options = mesh_options(args)
    patience = DEFAULT_TIMEOUT if args.timeout is None else args.timeout
    timeout = patience if args.wait else None
    if not local.up(options, timeout, notice):
        notice(f"mesh {options.name!r} is up already")
    report(mesh_directory(options.name), args.output)
    return 0


def merge_config(args: argparse.Namespace, values_of_file: Mapping[str, object]) -> None:
    """Fill in from the file what no flag said."""
    for destination, value in values_of_file.items():
        if getattr(args, destination) is None:
            setattr(args, destination, value)


def mesh_parser() -> Parser:
    """Return a parser of the flags that describe a mesh: what the keys of a mesh file are checked against."""
    parser = Parser(prog="dlibos up")
    _add_flags(parser)
    return parser


def report(directory: MeshDirectory, output: str) -> None:
    """Print the tiles of a mesh that is up, and where it is reached."""
    mesh, rows = directory.read_mesh(), observe(directory)
    name = directory.path.name
    reach = urls(mesh)
    if output == "json":
        summary = {"name": name, "nic": nic_name(mesh.nic.kind), "address": local.reachable_address(mesh)}
        print_json({**summary, "urls": reach, "tiles": as_json(rows)})
        return
    print_tiles(rows, wide=False)
    print()
    for url in reach:
        print(f"curl {url}")
    if mesh.nic.kind == mesh_pb2.NIC_KIND_TAP:
        flag = "" if name == MeshOptions.name else f"--name {name} "
        print(f"dlibos exec {flag}-- curl http://{local.reachable_address(mesh)}/")


def urls(mesh: mesh_pb2.Mesh) -> list[str]:
    """Return where a browser on this machine finds the mesh."""
    return [f"http://{port.host}:{port.host_port}/" for port in mesh.nic.publish]
