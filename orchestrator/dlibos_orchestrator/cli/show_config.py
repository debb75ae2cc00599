"""`dlibos config`: a mesh file with everything in it, as `dlibos up` would understand it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dlibos_orchestrator.cli import validate, values
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.output import print_json

NAME: Final = "config"
Table = Mapping[str, object]


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="print a mesh file with all defaults",
        description="Print what a mesh file comes to, all defaults filled in; without FILE the mesh of a bare `up`.",
    )
    parser.add_argument("file", nargs="?", type=values.path, metavar="FILE", help="mesh.toml")
    parser.add_argument("-o", "--output", choices=("toml", "json"), default="toml", help="how to print")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    options, problems = validate.read(args.file)
    if problems:
        raise UsageError(f"{problems[0]}; `dlibos validate {args.file}` says all that is wrong")
    document = effective(options)
    if args.output == "json":
        print_json(document)
    else:
        print("\n".join(_toml(document)))
    return 0


def effective(options: MeshOptions) -> dict[str, Any]:
    """Return the tables of a mesh file that says all of `options`."""
    mesh: dict[str, object] = {"name": options.name, "size": f"{options.width}x{options.height}"}
    mesh |= {key: getattr(options, key) for key in ("driver", "stack", "idle", "protection", "broker")}
    mesh["publish"] = [f"{port.host}:{port.host_port}:{port.mesh_port}" for port in options.publish]
    nic: dict[str, object] = {"kind": options.nic}
    if options.pcap is not None:
        nic["pcap"] = str(options.pcap)
    if options.fault is not None:
        nic["fault"] = ",".join(f"{key}={value}" for key, value in vars(options.fault).items())
    document: dict[str, Any] = {"mesh": mesh, "nic": nic, "tunables": _tunables(options)}
    document["domain"] = [_said(vars(domain)) for domain in options.domains]
    if options.autoscale is not None:
        document["autoscale"] = {
            key: value if key in {"high", "low"} else f"{value:g}s" for key, value in vars(options.autoscale).items()
        }
    return document


def _tunables(options: MeshOptions) -> dict[str, int]:
    return {name: options.tune.get(name, values.default_of(name)) for name in values.TUNABLES}


def _said(table: Table) -> dict[str, object]:
    return {key: value if isinstance(value, int) else str(value) for key, value in table.items() if value is not None}


def _toml(document: Mapping[str, Any]) -> Iterator[str]:
    for name, table in document.items():
        for one in table if isinstance(table, list) else [table]:
            yield f"[[{name}]]" if isinstance(table, list) else f"[{name}]"
            # A JSON string, number or list of strings is one of TOML's, too.
            yield from (f"{key} = {json.dumps(value)}" for key, value in one.items())
            yield ""
