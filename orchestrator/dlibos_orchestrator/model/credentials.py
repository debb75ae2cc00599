"""What each process of a mesh gets to prove who it is: one key for every pair of tiles.

Roles change while a mesh runs, so a key says only who somebody is: what he may do follows from his role.

A key is HMAC-SHA256 of the mesh key over b"dlibos pair", the lower and the higher number (32 bits each, big-endian).
The document of a process is JSON, {"peers": {"3": hex, ...}}, for driver tiles with "keeper": hex; for all tiles with
"bus": the tile's password on the bus. node/dlibos_node/identity.py says how the keys are used.
"""

from __future__ import annotations

import hmac
import json
import struct
from typing import Final

from dlibos.control.v1 import mesh_pb2

KEY: Final = 32  # bytes
KEEPER: Final = 0xFFFFFFFF  # the keeper's number where a tile's is asked for


def pair_key(mesh_key: bytes, one: int, other: int) -> bytes:
    """Return the key that two tiles share, whichever is named first."""
    return hmac.digest(mesh_key, b"dlibos pair" + struct.pack(">II", min(one, other), max(one, other)), "sha256")


def bus_password(mesh_key: bytes, user: str) -> str:
    """Return the password of a user of the bus ("tile-3", "operator", "orchestrator")."""
    return hmac.digest(mesh_key, b"dlibos bus" + user.encode(), "sha256").hex()


def of_tile(mesh: mesh_pb2.Mesh, mesh_key: bytes, tile: mesh_pb2.Tile) -> bytes:
    """Return the document of a tile: the keys of its own pairs, with whichever tile there is or will be on the mesh."""
    peers = [other for other in range(mesh.width * mesh.height) if other != tile.tile]
    document: dict[str, object] = {
        "peers": _keys(mesh_key, tile.tile, peers),
        "bus": bus_password(mesh_key, f"tile-{tile.tile}"),
    }
    if tile.role == mesh_pb2.ROLE_DRIVER and mesh.nic.kind == mesh_pb2.NIC_KIND_TAP:
        document["keeper"] = pair_key(mesh_key, tile.tile, KEEPER).hex()
    return json.dumps(document).encode()


def of_keeper(mesh: mesh_pb2.Mesh, mesh_key: bytes) -> bytes:
    """Return the document of the keeper: a key for every tile that may become a driver, which alone is told its own."""
    return json.dumps({"peers": _keys(mesh_key, KEEPER, list(range(mesh.width * mesh.height)))}).encode()


def _keys(mesh_key: bytes, own: int, peers: list[int]) -> dict[str, str]:
    return {str(peer): pair_key(mesh_key, own, peer).hex() for peer in peers}
