"""Requests that name a tile: assign, drain, restart. Each changes a spec in place. UsageError says what cannot be."""

from __future__ import annotations

from collections.abc import Mapping

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.policy.goal import IDLE, Job, goal, job, pins, untouchable, wanted

ROLES = (mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP, mesh_pb2.ROLE_IDLE)


def assign(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh, pin: orchestrator_pb2.Pin) -> None:
    """Make a tile what the user says: the role it leaves counts one less, the one it joins one more."""
    _check_tile(spec, mesh, pin.tile)
    if pin.role not in ROLES:
        raise UsageError(f"tile {pin.tile} cannot be assigned that role; known: driver, stack, app, idle")
    before = job_of(spec, mesh, pin.tile)
    after = Job(pin.role, _domain(spec, mesh, pin, before) if pin.role == mesh_pb2.ROLE_APP else 0)
    if after != before:
        _count(spec, mesh, pin.tile, before, -1)
        _count(spec, mesh, pin.tile, after, 1)
    kept = [other for other in spec.pins if other.tile != pin.tile]
    kept.append(orchestrator_pb2.Pin(tile=pin.tile, role=after.role, domain=after.domain))
    del spec.pins[:]
    spec.pins.extend(sorted(kept, key=lambda other: other.tile))


def drain(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh, tile: int) -> None:
    """Make a tile idle for as long as it is not assigned another role."""
    _check_member(mesh, tile)
    assign(spec, mesh, orchestrator_pb2.Pin(tile=tile, role=mesh_pb2.ROLE_IDLE))


def restart(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh, tile: int, observed: Mapping[int, Observed]) -> None:
    """Have a later process than the one that runs; one that is dead is started again anyway."""
    _check_tile(spec, mesh, tile)
    _check_member(mesh, tile)
    what = job_of(spec, mesh, tile)
    if what != IDLE and wanted(spec)[what] < 2:
        raise UsageError(f"{_last(mesh, tile, what)}; `dlibos scale {_flag(mesh, what)}=2` first")
    if (seen := observed.get(tile)) is not None and seen.alive and seen.incarnation:
        spec.later_than[tile] = seen.incarnation


def job_of(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh, tile: int) -> Job:
    """Return what a tile does once the mesh is as the spec wants it; idle too when it is not there."""
    aim = goal(spec, mesh)
    if tile in pins(spec):
        return pins(spec)[tile]
    if tile in aim.joining:
        return aim.joining[tile]
    now = next((job(entry) for entry in mesh.tiles if entry.tile == tile), IDLE)
    return IDLE if tile in aim.leaving else now


def place_of(mesh: mesh_pb2.Mesh, what: Job) -> str:
    """Return "stack", or "app" with the name of the domain where there are several."""
    name = mesh_pb2.Role.Name(what.role).removeprefix("ROLE_").lower()
    return f"{name} {mesh.domains[what.domain - 1].name}" if what.domain and len(mesh.domains) > 1 else name


def _flag(mesh: mesh_pb2.Mesh, what: Job) -> str:
    return place_of(mesh, what).replace(" ", ".")


def _last(mesh: mesh_pb2.Mesh, tile: int, what: Job) -> str:
    return f"tile {tile} is the last {place_of(mesh, what)} tile, its work would have nowhere to go"


def _domain(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh, pin: orchestrator_pb2.Pin, before: Job) -> int:
    domain = pin.domain or before.domain or (1 if len(spec.app) == 1 else 0)
    if not 1 <= domain <= len(spec.app):
        names = ", ".join(one.name for one in mesh.domains)
        raise UsageError(f"tile {pin.tile}: say which domain it is to serve: {names}")
    return domain


def _count(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh, tile: int, what: Job, change: int) -> None:
    if what == IDLE:
        spec.idle = max(0, spec.idle + change)
        return
    count = wanted(spec)[what] + change
    if count < 1:
        raise UsageError(f"{_last(mesh, tile, what)}; `dlibos scale {_flag(mesh, what)}=2` first")
    if what.role == mesh_pb2.ROLE_APP:
        spec.app[what.domain - 1] = count
    elif what.role == mesh_pb2.ROLE_DRIVER:
        spec.driver = count
    else:
        spec.stack = count


def _check_tile(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh, tile: int) -> None:
    if tile >= mesh.width * mesh.height:
        most = mesh.width * mesh.height - 1
        raise UsageError(f"no tile {tile}: the {mesh.width}x{mesh.height} mesh has tiles 0 to {most}")
    if tile in untouchable(spec, mesh):
        raise UsageError(f"tile {tile} is in the attacker's hands (`dlibos attack`) and stays what it is; name another")


def _check_member(mesh: mesh_pb2.Mesh, tile: int) -> None:
    if all(entry.tile != tile for entry in mesh.tiles):
        raise UsageError(f"tile {tile} has no process; see `dlibos ps`")
