"""Which process gets which keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_node import identity
from dlibos_node.identity import Context
from dlibos_orchestrator.model import credentials
from dlibos_orchestrator.model.credentials import KEEPER, pair_key
from dlibos_orchestrator.model.desired import desired_mesh
from dlibos_orchestrator.model.options import MeshOptions
from tests.support.keys import MESH_KEY

# Tiles 0, 1: drivers; 2: stack; 3, 4: apps; 5: idle.
OPTIONS = MeshOptions(driver=2, stack=1, app=2, idle=1)


@pytest.fixture
def mesh() -> mesh_pb2.Mesh:
    return desired_mesh(OPTIONS, mesh_pb2.NIC_KIND_TAP, Path("/r/m"), "m-1")


def peers(document: bytes) -> set[int]:
    return {int(peer) for peer in json.loads(document)["peers"]}


@pytest.mark.parametrize("tile", range(6))
def test_a_tile_gets_the_keys_of_its_own_pairs_only(mesh: mesh_pb2.Mesh, tile: int) -> None:
    expected = set(range(36)) - {tile}
    document = credentials.of_tile(mesh, MESH_KEY, mesh.tiles[tile])
    assert peers(document) == expected
    keys = json.loads(document)["peers"]
    assert keys == {str(peer): pair_key(MESH_KEY, peer, tile).hex() for peer in expected}
    assert MESH_KEY.hex() not in document.decode()


def test_driver_tiles_alone_share_a_key_with_the_keeper(mesh: mesh_pb2.Mesh) -> None:
    documents = [json.loads(credentials.of_tile(mesh, MESH_KEY, tile)) for tile in mesh.tiles]
    assert [document.get("keeper") for document in documents] == [
        pair_key(MESH_KEY, 0, KEEPER).hex(),
        pair_key(MESH_KEY, KEEPER, 1).hex(),
        *[None] * 4,
    ]
    assert peers(credentials.of_keeper(mesh, MESH_KEY)) == set(range(36))  # whichever of them becomes a driver


def test_without_a_keeper_nobody_shares_a_key_with_it(mesh: mesh_pb2.Mesh) -> None:
    mesh.nic.kind = mesh_pb2.NIC_KIND_USER
    assert "keeper" not in json.loads(credentials.of_tile(mesh, MESH_KEY, mesh.tiles[0]))


def test_every_pair_has_a_key_of_its_own() -> None:
    pairs = [(a, b) for a in range(12) for b in range(a)] + [(a, KEEPER) for a in range(12)]
    assert len({pair_key(MESH_KEY, *pair) for pair in pairs}) == len(pairs)
    assert pair_key(MESH_KEY, 0, 1) != pair_key(bytes(32), 0, 1)


def test_tiles_understand_the_documents(mesh: mesh_pb2.Mesh) -> None:
    one, other = (identity.parse(credentials.of_tile(mesh, MESH_KEY, mesh.tiles[n]), n) for n in (0, 2))
    proof = one.prove(Context.NOC, 2, bytes(32), bytes(32))
    assert other.verify(Context.NOC, 0, bytes(32), bytes(32), proof)
    assert identity.KEEPER == KEEPER
