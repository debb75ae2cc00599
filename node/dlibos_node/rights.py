"""Which partitions a tile owns and which it may read (DESIGN section 4), from the mesh file alone. Pure.

    owner    partition              its readers
    driver   RX, one for a domain   stack tiles; application tiles of that domain
    stack    TX                     driver tiles
    app      APP                    stack and driver tiles

Without protection every tile may map, and write, all of them.
"""

from __future__ import annotations

from dlibos.control.v1 import mesh_pb2

from dlibos_node.memory.descriptor import APP_INDEX, SYSTEM_DOMAIN, TX_INDEX

DRIVER, STACK, APP = mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP


def is_protected(mesh: mesh_pb2.Mesh) -> bool:
    """Whether the tiles of a mesh are kept apart."""
    return mesh.protection in (mesh_pb2.PROTECTION_PROTECTED, mesh_pb2.PROTECTION_UNSPECIFIED)


def mode(mesh: mesh_pb2.Mesh) -> str:
    """Return "protected", "unprotected" or "fused"."""
    if is_protected(mesh):
        return "protected"
    return mesh_pb2.Protection.Name(mesh.protection).removeprefix("PROTECTION_").lower()


def receive_domains(mesh: mesh_pb2.Mesh) -> list[int]:
    """Return the domains a driver has an RX partition for: with only one, it gets whatever arrives."""
    domains = list(range(1, len(mesh.domains) + 1))
    return domains if len(domains) == 1 else [SYSTEM_DOMAIN, *domains]


def owned(mesh: mesh_pb2.Mesh, tile: mesh_pb2.Tile) -> list[int]:
    """Return the indices of a tile's own partitions."""
    if tile.role == DRIVER:
        return receive_domains(mesh)
    if tile.role == mesh_pb2.ROLE_FUSED:
        return [*receive_domains(mesh), TX_INDEX, APP_INDEX]
    return {STACK: [TX_INDEX], APP: [APP_INDEX]}.get(tile.role, [])


def readable(mesh: mesh_pb2.Mesh, owner: mesh_pb2.Tile, reader: mesh_pb2.Tile) -> list[int]:
    """Return the indices of those partitions of `owner` that `reader` may map."""
    if not is_protected(mesh):
        return owned(mesh, owner)
    if owner.role == DRIVER and reader.role == APP:
        return [reader.domain]
    readers = {DRIVER: (STACK,), STACK: (DRIVER,), APP: (STACK, DRIVER)}
    return owned(mesh, owner) if reader.role in readers.get(owner.role, ()) else []


def ports(mesh: mesh_pb2.Mesh) -> dict[int, int]:
    """Return the domain of every port that belongs to one."""
    return {port: number for number, domain in enumerate(mesh.domains, 1) for port in domain.ports}


def ports_of_apps(mesh: mesh_pb2.Mesh) -> dict[int, frozenset[int]]:
    """Return the ports each application tile may listen on."""
    return {tile.tile: frozenset(mesh.domains[tile.domain - 1].ports) for tile in mesh.tiles if tile.domain}
