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

DEFAULTS: Final = {
    "queue_words": 8192,  # per source and demux queue; 64 KiB
    "moderation_us": 2000,
    "moderation_words": 768,  # 256 RX messages
    "buckets": 4160,  # mPIPE has 4160 (FACTS)
    "backlog": 1024,
}
LEAST: Final = {"queue_words": 256, "moderation_us": 0, "moderation_words": 3, "buckets": 1, "backlog": 1}
MOST: Final = {"queue_words": 1 << 20, "moderation_us": 1 << 20, "moderation_words": 1 << 16, "buckets": 1 << 16}


def load(path: Path, tile: int) -> tuple[mesh_pb2.Mesh, mesh_pb2.Tile]:
    """Read the mesh file and return it with this tile's entry; ConfigurationError names what is wrong in it."""
    try:
        mesh = json_format.Parse(path.read_text(), mesh_pb2.Mesh())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}: is the mesh up?") from error
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    for name, value in DEFAULTS.items():
        if not getattr(mesh.tunables, name):
            setattr(mesh.tunables, name, value)
    mine = [entry for entry in mesh.tiles if entry.tile == tile]
    if len(mine) != 1:
        raise ConfigurationError(f"{path}: has {len(mine)} entries for tile {tile}, needs one")
    _check(path, mesh)
    return mesh, mine[0]


def _check(path: Path, mesh: mesh_pb2.Mesh) -> None:
    for name, least in LEAST.items():
        value = getattr(mesh.tunables, name)
        if not least <= value <= MOST.get(name, value):
            raise ConfigurationError(f"{path}: tunables.{name} is {value}: it must be between {least} and {MOST[name]}")
    for entry in mesh.tiles:
        if entry.tile >= mesh.width * mesh.height:
            raise ConfigurationError(f"{path}: tile {entry.tile} is outside the {mesh.width}x{mesh.height} mesh")
        if entry.role not in ROLES:
            raise ConfigurationError(f"{path}: tile {entry.tile} has no role: one of {', '.join(ROLES.values())}")
    _check_domains(path, mesh)


def _check_domains(path: Path, mesh: mesh_pb2.Mesh) -> None:
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
