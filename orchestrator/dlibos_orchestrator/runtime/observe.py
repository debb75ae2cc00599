"""What a mesh is doing: the process table and what the tiles say, one row per tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model.placement import coordinates
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.processes import MeshProcess

STARTING: Final = "starting"
READY: Final = "ready"
FAILED: Final = "failed"  # it runs and says it has a problem
DEAD: Final = "dead"  # its process is gone
DRAINING: Final = "draining"  # it takes nothing new, and finishes or hands over what it has


class TileRow(NamedTuple):
    """One tile as seen from outside. 0 and "" stand for what is not known (yet)."""

    tile: int
    x: int
    y: int
    role: str
    state: str
    pid: int
    rss_bytes: int
    metrics_port: int
    nic: str
    offloads: tuple[str, ...]
    compiled: bool
    problem: str
    hardening: tuple[str, ...] = ()
    faults: int = 0


def observe(directory: MeshDirectory) -> list[TileRow]:
    """Return a row for each tile the mesh is to have."""
    mesh = directory.read_mesh()
    pids = {process.tile: process.pid for process in processes.scan(directory.path)}
    return [_row(mesh, tile, pids.get(tile.tile, 0), directory.read_status(tile.tile)) for tile in mesh.tiles]


def lost(mesh: mesh_pb2.Mesh, running: Sequence[MeshProcess]) -> list[str]:
    """Return what a mesh cannot go on without and nobody starts again: "its keeper", "its publisher"."""
    modules = {process.module for process in running}
    missing = []
    if mesh.nic.kind == mesh_pb2.NIC_KIND_TAP:
        if processes.KEEPER_MODULE not in modules:
            missing.append("its keeper")
        if mesh.nic.publish and processes.PUBLISHER_MODULE not in modules:
            missing.append("its publisher")
    return missing


def has_orchestrator(running: Sequence[MeshProcess]) -> bool:
    """Tell whether there is somebody to start tiles that end."""
    return any(process.module == processes.ORCHESTRATOR_MODULE for process in running)


def role_name(role: mesh_pb2.Role.ValueType) -> str:
    """Return "driver" for ROLE_DRIVER."""
    return mesh_pb2.Role.Name(role).removeprefix("ROLE_").lower()


def nic_name(kind: mesh_pb2.NicKind.ValueType) -> str:
    """Return "tap" for NIC_KIND_TAP, "" for no NIC."""
    return (
        "" if kind == mesh_pb2.NIC_KIND_UNSPECIFIED else mesh_pb2.NicKind.Name(kind).removeprefix("NIC_KIND_").lower()
    )


def _row(mesh: mesh_pb2.Mesh, tile: mesh_pb2.Tile, pid: int, status: mesh_pb2.TileStatus | None) -> TileRow:
    said = status if status is not None and (not pid or status.pid == pid) else mesh_pb2.TileStatus()
    x, y = coordinates(tile.tile, mesh.width)
    return TileRow(
        tile=tile.tile,
        x=x,
        y=y,
        role=role_name(tile.role),
        state=_state(pid, said, tile),
        pid=pid,
        rss_bytes=processes.resident_bytes(pid) if pid else 0,
        metrics_port=said.metrics_port,
        nic=nic_name(said.nic),
        offloads=tuple(said.offloads),
        compiled=said.compiled,
        problem=said.problem,
        hardening=tuple(said.hardening),
        faults=said.faults,
    )


def _state(pid: int, said: mesh_pb2.TileStatus, tile: mesh_pb2.Tile) -> str:
    if said.problem:
        return FAILED
    if not pid:
        return DEAD
    if not said.ready:
        return STARTING
    return DRAINING if tile.draining else READY
