"""The desired state of a mesh, as the message the tiles read, made from what the user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.model.entries import bucket_count, evenly
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.model.placement import place

MESH_ADDRESS: Final = "10.77.0.2/24"
PEER_ADDRESS: Final = "10.77.0.1/24"
# Locally administered unicast addresses (IEEE 802, second bit of the first octet).
MESH_MAC: Final = "02:d1:b0:00:00:02"
PEER_MAC: Final = "02:d1:b0:00:00:01"
MTU: Final = 1500
BUCKETS: Final = (
    mesh_pb2.Tunables.DESCRIPTOR.fields_by_name["buckets"].GetOptions().Extensions[mesh_pb2.bounds].default_value
)
PROTECTION: Final = {
    "protected": mesh_pb2.PROTECTION_PROTECTED,
    "unprotected": mesh_pb2.PROTECTION_UNPROTECTED,
    "fused": mesh_pb2.PROTECTION_FUSED,
}


def desired_mesh(
    options: MeshOptions, kind: mesh_pb2.NicKind.ValueType, directory: Path, mesh_id: str
) -> mesh_pb2.Mesh:
    """Return the desired state of a mesh whose sockets live in `directory`; `kind` is what `--nic` came to."""
    mesh = mesh_pb2.Mesh(id=mesh_id, width=options.width, height=options.height, nic=_nic(options, kind, directory))
    mesh.tunables.CopyFrom(mesh_pb2.Tunables(**options.tune))
    mesh.protection = PROTECTION[options.protection]
    for domain in options.domains:
        mesh.domains.add(name=domain.name, ports=[domain.port])
    roles = place(options)
    for (tile, role), number in zip(roles.items(), domains_of_tiles(options, roles), strict=True):
        mesh.tiles.append(_tile(options, tile, role, number, directory))
    stacks = [tile.tile for tile in mesh.tiles if tile.role == mesh_pb2.ROLE_STACK and not tile.passive]
    mesh.epoch, mesh.owners, mesh.bus = 1, evenly(stacks, bucket_count(mesh)), str(directory / "bus" / "sock")
    return mesh


def is_protected(mesh: mesh_pb2.Mesh) -> bool:
    """Tell whether the tiles of a mesh are kept apart."""
    return mesh.protection in (mesh_pb2.PROTECTION_PROTECTED, mesh_pb2.PROTECTION_UNSPECIFIED)


def same_counts(one: orchestrator_pb2.Spec, other: orchestrator_pb2.Spec) -> bool:
    """Tell whether two specs want as many tiles of each kind."""
    return counts(one) == counts(other) and one.compromised == other.compromised


def counts(spec: orchestrator_pb2.Spec) -> str:
    """Return how many tiles a spec wants: "1 driver, 2 stack, 1+2 app, 0 idle"; applications by domain."""
    apps = "+".join(map(str, spec.app))
    return f"{spec.driver} driver, {spec.stack} stack, {apps} app, {spec.idle} idle"


def domains_of_tiles(options: MeshOptions, roles: Mapping[int, mesh_pb2.Role.ValueType]) -> list[int]:
    """Return the number of each tile's domain, 0 for those that run no application, in the order of `roles`."""
    numbers = chain.from_iterable([number] * domain.app for number, domain in enumerate(options.domains, 1))
    of_role = {mesh_pb2.ROLE_APP: numbers, mesh_pb2.ROLE_FUSED: repeat(1)}
    return [next(of_role[role]) if role in of_role else 0 for role in roles.values()]


def same_frame(one: mesh_pb2.Mesh, other: mesh_pb2.Mesh) -> bool:
    """Tell whether two meshes agree in all that stays as it is while a mesh runs: all but tiles and buckets."""
    return _frame(one) == _frame(other)


def _frame(mesh: mesh_pb2.Mesh) -> tuple[bytes, dict[int, bytes]]:
    """Return what stays, without the id drawn at the start; and what each domain's tiles run."""
    frame = mesh_pb2.Mesh()
    frame.CopyFrom(mesh)
    for field in ("id", "tiles", "epoch", "owners"):
        frame.ClearField(field)
    runs = {tile.domain: tile.app.SerializeToString(deterministic=True) for tile in mesh.tiles if tile.domain}
    return frame.SerializeToString(deterministic=True), runs


def _nic(options: MeshOptions, kind: mesh_pb2.NicKind.ValueType, directory: Path) -> mesh_pb2.Nic:
    nic = mesh_pb2.Nic(
        kind=kind, mac=MESH_MAC, address=MESH_ADDRESS, peer_mac=PEER_MAC, peer_address=PEER_ADDRESS, mtu=MTU
    )
    if kind == mesh_pb2.NIC_KIND_TAP:
        nic.keeper = str(directory / "nic.sock")
    if options.pcap is not None:
        nic.pcap = str(options.pcap)
    for port in options.publish:
        nic.publish.add(host=port.host, host_port=port.host_port, mesh_port=port.mesh_port)
    if options.fault is not None:
        nic.fault.CopyFrom(mesh_pb2.Fault(**vars(options.fault)))
    return nic


def _tile(
    options: MeshOptions, tile: int, role: mesh_pb2.Role.ValueType, domain: int, directory: Path
) -> mesh_pb2.Tile:
    desired = mesh_pb2.Tile(
        tile=tile,
        role=role,
        domain=domain,
        passive=tile in options.compromised and role in (mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK),
        address=f"unix:{directory / 'noc' / str(tile) / 'sock'}",
        memory=str(directory / "mem" / str(tile) / "sock"),
    )
    if domain:
        runs = options.domains[domain - 1]
        desired.app.CopyFrom(mesh_pb2.App(kind=runs.kind, root=str(runs.root or ""), port=runs.port))
    return desired
