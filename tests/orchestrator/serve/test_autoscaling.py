"""The policy at work: what it is shown, what it asks for, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from google.protobuf import json_format

from dlibos_orchestrator.model.desired import desired_mesh
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.model.options import AutoscaleLimits, MeshOptions
from dlibos_orchestrator.model.spec import spec_of
from dlibos_orchestrator.serve.autoscaling import Autoscaling

OPTIONS = MeshOptions(idle=1, autoscale=AutoscaleLimits(hold=2.0, rest=10.0))


class Seen:
    def __init__(self) -> None:
        self.spec = spec_of(OPTIONS)
        self.mesh = desired_mesh(OPTIONS, mesh_pb2.NIC_KIND_TAP, Path("/r/m"), "m-1")
        self.busy = {mesh_pb2.ROLE_DRIVER: 0.5, mesh_pb2.ROLE_STACK: 0.95, mesh_pb2.ROLE_APP: 0.5}

    @property
    def observed(self) -> dict[int, Observed]:
        return {
            entry.tile: Observed(
                entry.tile,
                True,
                entry.role,
                incarnation=1,
                sequence=1,
                ready=True,
                epoch=1,
                busy=self.busy.get(entry.role, 0.0),
            )
            for entry in self.mesh.tiles
        }


@pytest.fixture
def asked() -> list[orchestrator_pb2.Request]:
    return []


def test_it_asks_for_a_tile_once_the_bottleneck_has_lasted(asked: list[orchestrator_pb2.Request]) -> None:
    said: list[str] = []
    scaling = Autoscaling(
        Seen(),
        lambda payload: asked.append(json_format.Parse(payload, orchestrator_pb2.Request())),
        lambda kind, tile, text: said.append(f"{kind} {tile} {text}"),
    )
    for second in range(8):
        scaling.look(100.0 + second)
    (request,) = asked
    assert request.scale.stack == 2
    assert not request.scale.HasField("driver")
    (line,) = said
    assert line.startswith("autoscale -1 ")
    assert "stack: 0.95 busy on 1 tiles, above 0.8" in line


def test_it_says_what_it_thinks_of_a_policy_that_is_not_in_force(asked: list[orchestrator_pb2.Request]) -> None:
    seen = Seen()
    wanted = spec_of(OPTIONS)
    seen.spec.ClearField("autoscale")
    scaling = Autoscaling(seen, lambda payload: asked.append(orchestrator_pb2.Request()), lambda *_: None)
    for second in range(8):
        scaling.look(100.0 + second)
    assert asked == []
    assert any("stack: 0.95 busy" in line for line in scaling.thoughts(wanted))


def test_what_a_user_has_just_changed_is_not_changed_back_at_once(asked: list[orchestrator_pb2.Request]) -> None:
    seen = Seen()
    scaling = Autoscaling(seen, lambda payload: asked.append(orchestrator_pb2.Request()), lambda *_: None)
    scaling.look(100.0)
    seen.spec.version += 1
    for second in range(1, 10):
        scaling.look(100.0 + second)
    assert asked == []
    for second in range(10, 16):
        scaling.look(100.0 + second)
    assert len(asked) == 1
