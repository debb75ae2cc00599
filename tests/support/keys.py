"""Credentials as `dlibos up` makes them, from a mesh key that the tests know."""

from __future__ import annotations

from dlibos_node.identity import Credentials
from dlibos_orchestrator.model.credentials import pair_key

MESH_KEY = bytes(range(32))


def credentials(tile: int, *peers: int, key: bytes = MESH_KEY) -> Credentials:
    return Credentials(tile, {peer: pair_key(key, tile, peer) for peer in peers})
