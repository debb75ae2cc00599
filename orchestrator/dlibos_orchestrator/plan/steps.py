"""What would be done, one line each, found by planning against a world where everything goes well."""

from __future__ import annotations

from collections.abc import Mapping

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.model.observed import Observed


def steps(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh, observed: Mapping[int, Observed]) -> list[str]:
    """Return the steps from what is to what is wanted; UsageError where there is no way from here to there."""
    del spec, mesh, observed
    return []
