"""The one next thing to do: the phases in their order. Level-driven: only what is wanted and what is seen counts.

    fence    end processes that hang, or are not what the mesh wants
    heal     start what does not run
    grow     give roles to idle tiles and free places
    spread   share out the buckets over the stack tiles that stay
    shrink   drain tiles that are to leave, then let them be idle

A phase that can do nothing notes what it waits for and lets the next one have its turn, so that a tile that never
comes up holds up only what needs it. A fused mesh keeps its shape: it is only fenced and healed.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.plan.actions import Action
from dlibos_orchestrator.plan.backoff import Failure
from dlibos_orchestrator.plan.fence import fence
from dlibos_orchestrator.plan.grow import grow
from dlibos_orchestrator.plan.heal import heal
from dlibos_orchestrator.plan.shrink import shrink
from dlibos_orchestrator.plan.spread import spread
from dlibos_orchestrator.plan.view import View


def next_action(
    spec: orchestrator_pb2.Spec,
    mesh: mesh_pb2.Mesh,
    observed: Mapping[int, Observed],
    failures: Mapping[int, Failure],
    now: float,
) -> Action:
    """Return the next thing to do, by tile number of `observed` and `failures`; a Wait when there is nothing.

    `now`: monotonic seconds, of the clock that Observed's times come from.
    """
    view = View(spec, mesh, observed, failures, now)
    if (action := fence(view) or heal(view)) is not None:
        return action
    if not view.fused and (action := grow(view) or spread(view) or shrink(view)) is not None:
        return action
    _await_those_that_start(view)
    return view.waiting()


def _await_those_that_start(view: View) -> None:
    for tile in sorted(view.entries):
        if tile not in view.fixed and view.seen(tile).alive and not view.up(tile):
            view.wait(
                f"tile {tile} starts" if not view.seen(tile).problem else f"tile {tile}: {view.seen(tile).problem}"
            )
