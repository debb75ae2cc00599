"""Last: let tiles go that are to leave, or to begin anew. Each finishes or hands over what it has before it ends."""

from __future__ import annotations

from dlibos_orchestrator.model.entries import changed, draining, fresh
from dlibos_orchestrator.plan.actions import Write
from dlibos_orchestrator.plan.spread import in_force
from dlibos_orchestrator.plan.view import View
from dlibos_orchestrator.policy.goal import IDLE, job


def shrink(view: View) -> Write | None:
    """Return the next step of the first tile that can take one."""
    going = sorted(view.goal.leaving | view.restarting | {t for t, entry in view.entries.items() if entry.draining})
    for tile in going:
        if (write := _release(view, tile)) is not None:
            return write
    for tile in going:
        if not view.entries[tile].draining and (write := _drain(view, tile)) is not None:
            return write
    return None


def _release(view: View, tile: int) -> Write | None:
    """A tile that has drained, or that never came up and so has nothing, begins anew; who leaves does so as idle."""
    entry, seen = view.entries[tile], view.seen(tile)
    leaves = tile in view.goal.leaving
    stillborn = leaves and seen.spoken and not seen.ready and not view.coming(tile) and bool(view.colleagues(tile))
    if not (entry.draining and seen.spoken and seen.drained) and not stillborn:
        if entry.draining:
            view.wait(f"tile {tile} drains")
        return None
    if _has_buckets(view, tile):
        return None
    anew = fresh(view.mesh, tile, IDLE if leaves else job(entry))
    if anew is None:
        return None
    return Write(
        changed(view.mesh, [anew]), f"tile {tile} has drained and " + ("is idle now" if leaves else "restarts")
    )


def _drain(view: View, tile: int) -> Write | None:
    seen = view.seen(tile)
    expected = next((other for other in view.entries if other not in view.goal.leaving and view.coming(other)), None)
    if expected is not None:
        view.wait(f"tile {expected} starts")
    elif not view.colleagues(tile):
        view.wait(f"tile {tile} is the last of its role that can be counted on; it stays until another is up")
    elif not seen.spoken or seen.gone:
        view.wait(f"tile {tile} does not answer; it drains when it does")
    elif _has_buckets(view, tile):
        view.wait(f"tile {tile} still has buckets")
    else:
        return Write(changed(view.mesh, [draining(view.entries[tile])]), f"tile {tile} drains")
    return None


def _has_buckets(view: View, tile: int) -> bool:
    return tile in view.stacks and bool(view.owned(tile) or view.held(tile) or not in_force(view, tile))
