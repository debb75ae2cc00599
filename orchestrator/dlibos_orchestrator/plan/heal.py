"""Second: start what is dead, in place, with a back-off for each tile."""

from __future__ import annotations

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model.entries import changed, fresh
from dlibos_orchestrator.plan.actions import Start, Write
from dlibos_orchestrator.plan.tokens import birth, first_table, unclaimed
from dlibos_orchestrator.plan.view import View
from dlibos_orchestrator.policy.goal import IDLE, job


def heal(view: View) -> Write | Start | None:
    """Return what brings back the first dead tile that can be brought back now."""
    if (write := first_table(view)) is not None:
        return write
    dead = [tile for tile in sorted(view.entries) if not view.seen(tile).alive]
    for tile in dead:
        if (write := _relieve(view, tile)) is not None:
            return write
    for tile in dead:
        if (action := _revive(view, tile)) is not None:
            return action
    return None


def _relieve(view: View, tile: int) -> Write | None:
    """A dead tile has nothing to drain: it begins anew at once, as idle one when it was to leave."""
    entry = view.entries[tile]
    leaves = tile in view.goal.leaving
    if not (entry.draining or (leaves and view.colleagues(tile))) or _needed(view, tile):
        return None
    what = IDLE if leaves else job(entry)
    if (anew := fresh(view.mesh, tile, what)) is None:
        return None
    return Write(changed(view.mesh, [anew]), f"tile {tile} has ended and " + ("is idle now" if leaves else "is wanted"))


def _needed(view: View, tile: int) -> bool:
    """Whether buckets may have been lost with the tile, which only its start can bring back."""
    return tile in view.stacks and bool(view.owned(tile) or unclaimed(view))


def _revive(view: View, tile: int) -> Write | Start | None:
    if view.now < view.due(tile):
        view.wait(f"tile {tile} fails again and again; it is started again after a while", view.due(tile))
        return None
    if tile in view.stacks:
        return birth(view, tile)
    role = mesh_pb2.Role.Name(view.entries[tile].role).removeprefix("ROLE_").lower()
    return Start(tile, f"tile {tile} ({role}) does not run")
