"""First: end processes that do harm or no good. What is dead then is healed in the next look."""

from __future__ import annotations

from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.plan.actions import Kill
from dlibos_orchestrator.plan.view import View

HUNG: Final = 5.0  # seconds of silence; a tile speaks once a second
ALL_HUNG: Final = 3 * HUNG  # where none speaks it is more likely that nobody listened
NEVER_SPOKE: Final = 30.0  # seconds that a start may take on a machine that is very busy


def fence(view: View) -> Kill | None:
    """Return the first process to end."""
    for tile, seen in sorted(view.observed.items()):
        if seen.alive and (why := _fault(view, tile, seen)):
            return Kill(tile, f"tile {tile} {why}")
    return None


def _fault(view: View, tile: int, seen: Observed) -> str:
    entry = view.entries.get(tile)
    if entry is None:
        return "is not in the mesh"
    if tile in view.fixed:
        return ""
    return _unfit(view, entry, seen) or _silence(view, seen)


def _unfit(view: View, entry: mesh_pb2.Tile, seen: Observed) -> str:
    if seen.role not in (mesh_pb2.ROLE_UNSPECIFIED, entry.role):
        return f"is to be {_name(entry.role)}: its process is {_name(seen.role)}"
    if seen.epoch > view.mesh.epoch:
        return f"speaks of epoch {seen.epoch}: there has been none after {view.mesh.epoch}"
    if seen.drained and not entry.draining and entry.role != mesh_pb2.ROLE_IDLE:
        return "has retired and is to begin anew"
    if entry.tile in view.restarting and entry.role == mesh_pb2.ROLE_IDLE:
        return "is to be restarted"
    return ""


def _silence(view: View, seen: Observed) -> str:
    patience = (ALL_HUNG if _all_silent(view) else HUNG) if seen.spoken else NEVER_SPOKE
    limit = max(seen.heard, seen.started) + patience
    if view.now > limit:
        return f"has said nothing for {patience:g} s"
    view.look_again(limit)
    return ""


def _all_silent(view: View) -> bool:
    spoken = [seen for seen in view.observed.values() if seen.spoken]
    return len(spoken) > 1 and all(view.now > seen.heard + HUNG for seen in spoken)


def _name(role: mesh_pb2.Role.ValueType) -> str:
    known = role in mesh_pb2.Role.values()
    return mesh_pb2.Role.Name(role).removeprefix("ROLE_").lower() if known else str(role)
