"""What `ps` says of a tile, from its process and its own words."""

from __future__ import annotations

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.runtime import observe

MESH = mesh_pb2.Mesh(width=6, height=6)
SAID = mesh_pb2.TileStatus(tile=1, pid=7, ready=True, metrics_port=9000)
BROKEN = mesh_pb2.TileStatus(tile=1, pid=7, problem="no memory; buy some")


@pytest.mark.parametrize(
    ("pid", "said", "draining", "state"),
    [
        (7, SAID, False, "ready"),
        (7, SAID, True, "draining"),
        (7, None, True, "starting"),
        (8, SAID, False, "starting"),  # the words of the process before
        (8, BROKEN, False, "starting"),
        (7, BROKEN, False, "failed"),
        (0, BROKEN, False, "failed"),
        (0, SAID, False, "dead"),
    ],
)
def test_the_state_of_a_tile(pid: int, said: mesh_pb2.TileStatus | None, draining: bool, state: str) -> None:
    entry = mesh_pb2.Tile(tile=1, role=mesh_pb2.ROLE_STACK, draining=draining)
    row = observe._row(MESH, entry, pid, said)
    assert row.state == state
    assert row.metrics_port == (9000 if said is SAID and pid != 8 else 0)
