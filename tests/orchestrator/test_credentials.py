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

OPTIONS = MeshOptions(driver=2, stack=1, app=2, idle=1)


@pytest.fixture
def mesh() -> mesh_pb2.Mesh:
    return desired_mesh(OPTIONS, mesh_pb2.NIC_KIND_TAP, Path("/r/m"), "m-1")


def peers(document: bytes) -> set[int]:
    return {int(peer) for peer in json.loads(document)["peers"]}


@pytest.mark.parametrize("entry", range(6))
def test_a_tile_gets_the_keys_of_its_own_pairs_only(mesh: mesh_pb2.Mesh, entry: int) -> None:
    tile = mesh.tiles[entry].tile
    expected = set(range(36)) - {tile}
    document = credentials.of_tile(mesh, MESH_KEY, mesh.tiles[entry])
    assert peers(document) == expected
    keys = json.loads(document)["peers"]
    assert keys == {str(peer): pair_key(MESH_KEY, peer, tile).hex() for peer in expected}
    assert MESH_KEY.hex() not in document.decode()


def test_driver_tiles_alone_share_a_key_with_the_keeper(mesh: mesh_pb2.Mesh) -> None:
    documents = {tile.tile: json.loads(credentials.of_tile(mesh, MESH_KEY, tile)) for tile in mesh.tiles}
    drivers = [tile.tile for tile in mesh.tiles if tile.role == mesh_pb2.ROLE_DRIVER]
    assert {tile: document["keeper"] for tile, document in documents.items() if "keeper" in document} == {
        drivers[0]: pair_key(MESH_KEY, drivers[0], KEEPER).hex(),
        drivers[1]: pair_key(MESH_KEY, KEEPER, drivers[1]).hex(),
    }
    assert peers(credentials.of_keeper(mesh, MESH_KEY)) == set(range(36))  # whichever of them becomes a driver


def test_without_a_keeper_nobody_shares_a_key_with_it(mesh: mesh_pb2.Mesh) -> None:
    mesh.nic.kind = mesh_pb2.NIC_KIND_USER
    assert "keeper" not in json.loads(credentials.of_tile(mesh, MESH_KEY, mesh.tiles[0]))


def test_every_pair_has_a_key_of_its_own() -> None:
    pairs = [(a, b) for a in range(12) for b in range(a)] + [(a, KEEPER) for a in range(12)]
    assert len({pair_key(MESH_KEY, *pair) for pair in pairs}) == len(pairs)
    assert pair_key(MESH_KEY, 0, 1) != pair_key(bytes(32), 0, 1)


def test_tiles_understand_the_documents(mesh: mesh_pb2.Mesh) -> None:
    first, second = mesh.tiles[0], mesh.tiles[2]
    one, other = (identity.parse(credentials.of_tile(mesh, MESH_KEY, tile), tile.tile) for tile in (first, second))
    proof = one.prove(Context.NOC, second.tile, bytes(32), bytes(32))
    assert other.verify(Context.NOC, first.tile, bytes(32), bytes(32), proof)
    assert identity.KEEPER == KEEPER
