"""Changing a desired state: the next mesh is a copy with a newer epoch, in which entries of tiles are made anew."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.policy.goal import Job, job


def changed(mesh: mesh_pb2.Mesh, entries: Iterable[mesh_pb2.Tile] = (), owners: bytes | None = None) -> mesh_pb2.Mesh:
    """Return the next mesh: these entries in place of, or besides, those that are there; and this bucket table."""
    after = mesh_pb2.Mesh()
    after.CopyFrom(mesh)
    by_tile = {entry.tile: entry for entry in mesh.tiles} | {entry.tile: entry for entry in entries}
    del after.tiles[:]
    after.tiles.extend(by_tile[tile] for tile in sorted(by_tile))
    if owners is not None:
        after.owners = owners
    after.epoch = mesh.epoch + 1
    return after


def fresh(mesh: mesh_pb2.Mesh, tile: int, what: Job) -> mesh_pb2.Tile | None:
    """Return the entry of a tile that begins anew with a job; None where the mesh does not show how it would look.

    A new tile's sockets are named as its fellows' are; an app tile runs what the others of its domain run.
    """
    fellow = next((entry for entry in mesh.tiles if entry.tile == tile), None) or _namesake(mesh, tile)
    if fellow is None:
        return None
    entry = mesh_pb2.Tile(tile=tile, role=what.role, domain=what.domain, address=fellow.address, memory=fellow.memory)
    if what.role == mesh_pb2.ROLE_APP:
        colleague = next((other for other in mesh.tiles if job(other) == what and other.app.kind), None)
        if colleague is None:
            return None
        entry.app.CopyFrom(colleague.app)
    return entry


def draining(entry: mesh_pb2.Tile) -> mesh_pb2.Tile:
    """Return the entry of a tile that is to take nothing new."""
    after = mesh_pb2.Tile()
    after.CopyFrom(entry)
    after.draining = True
    return after


def bucket_count(mesh: mesh_pb2.Mesh) -> int:
    """Return how many entries the steering table has."""
    if mesh.tunables.HasField("buckets"):
        return mesh.tunables.buckets
    field = mesh_pb2.Tunables.DESCRIPTOR.fields_by_name["buckets"]
    return field.GetOptions().Extensions[mesh_pb2.bounds].default_value


@lru_cache(maxsize=64)
def owned(owners: bytes) -> dict[int, int]:
    """Return what each tile is to own, as a whole number whose bit b stands for bucket b."""
    return {tile: _mask(owners, tile) for tile in set(owners)}


def evenly(stacks: list[int], buckets: int) -> bytes:
    """Return a bucket table that gives each stack tile the same share."""
    return bytes(stacks[bucket % len(stacks)] for bucket in range(buckets)) if stacks else b""


def _mask(owners: bytes, tile: int) -> int:
    table = bytes(48 + (value == tile) for value in range(256))  # "1" where the tile owns, "0" elsewhere
    return int(owners[::-1].translate(table), 2)


def _namesake(mesh: mesh_pb2.Mesh, tile: int) -> mesh_pb2.Tile | None:
    for entry in mesh.tiles:
        room = f"/{entry.tile}/sock"
        if entry.address.endswith(room) and entry.memory.endswith(room):
            address, memory = (path.removesuffix(room) + f"/{tile}/sock" for path in (entry.address, entry.memory))
            return mesh_pb2.Tile(tile=tile, address=address, memory=memory)
    return None
