"""`dlibos config`: the mesh that a file describes, as a file, with everything that it leaves out filled in."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any, Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.cli import up, values
from dlibos_orchestrator.cli.meshfile import options_of
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.model.options import Domain, Faults, MeshOptions
from dlibos_orchestrator.output import print_json

NAME: Final = "config"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="print a mesh file with its defaults filled in",
        description="Print the mesh that a file describes, as a file that can be read again; no FILE: the default.",
    )
    parser.add_argument("file", nargs="?", type=values.path, metavar="FILE", help="mesh file (TOML)")
    parser.add_argument("-o", "--output", choices=("toml", "json"), default="toml", help="how to print it (toml)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the effective mesh file. UsageError for a file that `dlibos up` would refuse."""
    options = MeshOptions() if args.file is None else options_of(args.file, up.mesh_parser())
    document = as_document(options)
    if args.output == "json":
        print_json(document)
    else:
        print(as_toml(document), end="")
    return 0


def as_document(options: MeshOptions) -> dict[str, Any]:
    """Return the tables of the mesh file that describes these options in full."""
    fused = options.protection == "fused"
    plain = ("name", "driver", "idle", "protection") if fused else ("name", "driver", "stack", "idle", "protection")
    document: dict[str, Any] = {
        "mesh": {"mesh": f"{options.width}x{options.height}", **{key: getattr(options, key) for key in plain}},
        "nic": _nic(options),
        "tunables": {name: options.tune.get(name, default) for name, default in _defaults().items()},
        "domain": [_domain(domain) for domain in options.domains],
    }
    if options.autoscale is not None:
        document["autoscale"] = vars(options.autoscale)
    return document


def as_toml(document: Mapping[str, Any]) -> str:
    """Return tables of plain values, and lists of such tables, as TOML."""
    blocks = []
    for name, content in document.items():
        for entries in content if isinstance(content, list) else [content]:
            head = f"[[{name}]]" if isinstance(content, list) else f"[{name}]"
            blocks.append("\n".join([head, *(f"{key} = {_toml(value)}" for key, value in entries.items())]) + "\n")
    return "\n".join(blocks)


def _toml(value: object) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _nic(options: MeshOptions) -> dict[str, object]:
    nic: dict[str, object] = {"kind": options.nic}
    nic["publish"] = [f"{port.host}:{port.host_port}:{port.mesh_port}" for port in options.publish]
    if options.pcap is not None:
        nic["pcap"] = str(options.pcap)
    if options.fault is not None:
        nic["fault"] = _faults(options.fault)
    return nic


def _faults(faults: Faults) -> str:
    return ",".join(f"{key}={value}" for key, value in vars(faults).items())


def _domain(domain: Domain) -> dict[str, object]:
    said: dict[str, object] = {"name": domain.name, "kind": domain.kind, "port": domain.port, "app": domain.app}
    return said if domain.root is None else {**said, "root": str(domain.root)}


def _defaults() -> dict[str, int]:
    fields = mesh_pb2.Tunables.DESCRIPTOR.fields
    return {field.name: field.GetOptions().Extensions[mesh_pb2.bounds].default_value for field in fields}
