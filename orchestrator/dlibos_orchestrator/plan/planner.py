"""The one next thing to do: the phases in their order. Level-driven: only what is wanted and what is seen counts."""

from __future__ import annotations

from collections.abc import Mapping

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.plan.actions import SETTLED, Action, Wait
from dlibos_orchestrator.plan.backoff import Failure


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
    del spec, mesh, observed, failures, now
    return Wait(SETTLED)
