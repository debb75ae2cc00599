"""What each role may still do once it runs. Data and its reasons; docs/hardening.md tells it to people.

A tile opens what its work needs before it is hardened, so a profile names little: its descriptors are its rights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2

from dlibos_node import config
from dlibos_node.hardening.landlock import Rules

LOCAL: Final = "unix:"  # a NoC address on this host

# Python imports some modules when it first needs them, and the C library loads their shared objects.
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
# Read by the C library and gRPC as they run: random seeds, the time zone, how many processors there are, how many
# callers may wait, how to give memory back.
_SYSTEM: Final = (
    "/dev/urandom",
    "/etc/localtime",
    "/sys/devices/system/cpu",
    "/proc/sys/net/core/somaxconn",
    "/proc/sys/vm/overcommit_memory",
)
# What a name server's answer needs: tiles of other hosts may be given by name.
_NAMES: Final = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf")

# Kinds of descriptors (descriptors.py) that every tile holds: standard streams, the event loop and gRPC's, the
# metrics port and its readers, the unix sockets of the NoC and of the handover.
COMMON: Final = frozenset({"null", "log", "eventpoll", "eventfd", "unix", "tcp"})
DESCRIPTORS: Final = {
    "driver": COMMON | {"partition"},
    "stack": COMMON | {"partition"},
    "app": COMMON | {"partition"},
    "idle": COMMON,
}
"""By role. A driver holds its network interface besides: "tap", or the published ports and their connections ("tcp");
with --pcap its "capture" file; an application tile the files it is just sending."""


class Profile(NamedTuple):
    """What a tile of `role` may do: Landlock's rules; whether it may make internet sockets, and attach a TAP queue."""

    role: str
    rules: Rules
    inet: bool
    queue: bool = False


def profile(mesh: mesh_pb2.Mesh, tile: mesh_pb2.Tile, directory: Path) -> Profile:
    """Return the profile of `tile` in the mesh whose directory is `directory`."""
    peers = [entry.address for entry in mesh.tiles if entry.tile != tile.tile]
    connect = tuple(sorted({port for address in peers if (port := _port(address))}))
    bind = tuple(filter(None, [_port(tile.address)]))
    inet = bool(connect or bind)
    return Profile(
        config.ROLES[tile.role],
        Rules(read=_readable(tile, inet), own=own_places(tile, directory), bind=bind, connect=connect),
        inet,
        tile.role == mesh_pb2.ROLE_DRIVER and mesh.nic.kind == mesh_pb2.NIC_KIND_TAP,
    )


def status_file(tile: mesh_pb2.Tile, directory: Path) -> Path:
    """Return where a tile says how it is: a directory of its own, so that no tile can speak for another."""
    return directory / "status" / str(tile.tile) / "status.json"


def own_places(tile: mesh_pb2.Tile, directory: Path) -> tuple[Path, ...]:
    """Return the directories that are this tile's alone to write: its status, its sockets' names."""
    places = [status_file(tile, directory).parent]
    if tile.address.startswith(LOCAL):
        places.append(Path(tile.address.removeprefix(LOCAL)).parent)
    if tile.memory:
        places.append(Path(tile.memory).parent)
    return tuple(places)


def _readable(tile: mesh_pb2.Tile, inet: bool) -> tuple[Path, ...]:
    """Python's own directories and the web root; not the mesh's directory, which may hold what others are told."""
    root = [tile.app.root] if tile.app.root else []
    return tuple(
        map(Path, dict.fromkeys((*filter(None, sys.path), *_LIBRARIES, *_SYSTEM, *(_NAMES if inet else ()), *root)))
    )


def _port(address: str) -> int:
    """Return the port of "host:port", 0 for an address on this host."""
    port = address.rpartition(":")[2]
    return int(port) if not address.startswith(LOCAL) and port.isdecimal() else 0
