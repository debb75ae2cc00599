"""What a tile is asked to be: the mesh file, checked, with defaults filled in."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_node.errors import ConfigurationError
from dlibos_node.memory.descriptor import MAX_DOMAIN

ROLES: Final = {
    mesh_pb2.ROLE_IDLE: "idle",
    mesh_pb2.ROLE_DRIVER: "driver",
    mesh_pb2.ROLE_STACK: "stack",
    mesh_pb2.ROLE_APP: "app",
    mesh_pb2.ROLE_FUSED: "fused",
}
TUNABLES: Final = {
    field.name: field.GetOptions().Extensions[mesh_pb2.bounds] for field in mesh_pb2.Tunables.DESCRIPTOR.fields
}
"""What each tunable may be, as the contract says it."""


def load(path: Path, tile: int) -> tuple[mesh_pb2.Mesh, mesh_pb2.Tile]:
    """Read the mesh file and return it with this tile's entry; ConfigurationError names what is wrong in it."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}: is the mesh up?") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return parse(text, str(path), tile)


def parse(text: str, path: str, tile: int) -> tuple[mesh_pb2.Mesh, mesh_pb2.Tile]:
    """Return the mesh that a JSON text from `path` describes, and this tile's entry. ConfigurationError."""
    try:
        mesh = json_format.Parse(text, mesh_pb2.Mesh())
    except json_format.ParseError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    said = {field.name for field, _ in mesh.tunables.ListFields()}
    for name, bounds in TUNABLES.items():
        if name not in said:
            setattr(mesh.tunables, name, bounds.default_value)
    mine = [entry for entry in mesh.tiles if entry.tile == tile]
    if len(mine) != 1:
        raise ConfigurationError(f"{path}: has {len(mine)} entries for tile {tile}, needs one")
    _check(path, mesh)
    if not mesh.owners:
        mesh.owners = evenly(mesh)
    return mesh, mine[0]


def evenly(mesh: mesh_pb2.Mesh) -> bytes:
    """Return a bucket table that gives each stack tile the same share."""
    stacks = [entry.tile for entry in mesh.tiles if entry.role == mesh_pb2.ROLE_STACK and not entry.passive]
    return bytes(stacks[bucket % len(stacks)] for bucket in range(mesh.tunables.buckets)) if stacks else b""


def _check(path: str, mesh: mesh_pb2.Mesh) -> None:
    for name, bounds in TUNABLES.items():
        value = getattr(mesh.tunables, name)
        if not bounds.least <= value <= bounds.most:
            raise ConfigurationError(f"{path}: tunables.{name} is {value}: use {bounds.least} to {bounds.most}")
    if mesh.owners and len(mesh.owners) != mesh.tunables.buckets:
        raise ConfigurationError(f"{path}: has {len(mesh.owners)} owners for {mesh.tunables.buckets} buckets")
    for entry in mesh.tiles:
        if entry.tile >= mesh.width * mesh.height:
            raise ConfigurationError(f"{path}: tile {entry.tile} is outside the {mesh.width}x{mesh.height} mesh")
        if entry.role not in ROLES:
            raise ConfigurationError(f"{path}: tile {entry.tile} has no role: one of {', '.join(ROLES.values())}")
    _check_domains(path, mesh)


def _check_domains(path: str, mesh: mesh_pb2.Mesh) -> None:
    if not 1 <= len(mesh.domains) <= MAX_DOMAIN:
        raise ConfigurationError(f"{path}: has {len(mesh.domains)} domains: it needs 1 to {MAX_DOMAIN}")
    owner: dict[int, str] = {}
    for domain in mesh.domains:
        for port in domain.ports:
            if not 0 < port < 1 << 16:
                raise ConfigurationError(f"{path}: domain {domain.name} has port {port}: it must be from 1 to 65535")
            if port in owner:
                raise ConfigurationError(f"{path}: domains {owner[port]} and {domain.name} both have port {port}")
            owner[port] = domain.name
    for entry in mesh.tiles:
        runs = entry.role in (mesh_pb2.ROLE_APP, mesh_pb2.ROLE_FUSED)
        if runs and not 1 <= entry.domain <= len(mesh.domains):
            raise ConfigurationError(f"{path}: tile {entry.tile} is in domain {entry.domain}, which is not there")


def interface_address(text: str, where: str) -> ipaddress.IPv4Interface:
    """Parse "a.b.c.d/prefix"; ConfigurationError names `where` it stood."""
    try:
        return ipaddress.IPv4Interface(text)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}: write it as 10.77.0.2/24") from error


def mac_address(text: str, where: str) -> bytes:
    """Parse "02:00:00:00:00:01"; ConfigurationError names `where` it stood."""
    try:
        mac = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        mac = b""
    if len(mac) != 6:
        raise ConfigurationError(f"{where}: {text!r} is not an Ethernet address such as 02:00:00:00:00:01")
    return mac
