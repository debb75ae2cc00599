"""Third: give roles to tiles that are idle or not there yet. Starting them is healing."""

from __future__ import annotations

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model.entries import changed, fresh
from dlibos_orchestrator.plan.actions import Write
from dlibos_orchestrator.plan.view import View
from dlibos_orchestrator.policy.goal import Job


def grow(view: View) -> Write | None:
    """Return the mesh with all tiles that can join now."""
    made = {tile: fresh(view.mesh, tile, what) for tile, what in view.goal.joining.items()}
    entries = [entry for entry in made.values() if entry is not None]
    if not entries:
        for what, count in view.goal.missing.items():
            view.wait(f"{count} {_name(what)} tiles wait for tiles that others give up")
        return None
    joined = ", ".join(f"tile {entry.tile} as {_name(Job(entry.role))}" for entry in entries)
    return Write(changed(view.mesh, entries), f"new in the mesh: {joined}")


def _name(what: Job) -> str:
    return mesh_pb2.Role.Name(what.role).removeprefix("ROLE_").lower()
