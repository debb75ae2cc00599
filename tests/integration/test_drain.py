"""Tiles come and go under load, and no client notices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime import namespace
from tests.support.changing import ChangingMesh, answered, changing, load

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(200)]

CONNECTIONS = 200
ROUNDS = 3
# Of the kernel that wrk runs on: connections that were reset, given up, or refused.
FAILURES = ("TcpEstabResets", "TcpExtTCPAbortOnTimeout", "TcpAttemptFails")


@pytest.fixture
def mesh(base: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChangingMesh]:
    if not (found := namespace.can_have_tap()):
        pytest.skip(f"no TAP device: {found.reason}")
    with changing(monkeypatch, MeshOptions(name="changing", width=4, height=1, idle=1, nic="tap")) as running:
        yield running


@pytest.mark.parametrize("role", [mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_APP], ids=["driver", "app"])
def test_from_one_to_two_and_back_nobody_notices(mesh: ChangingMesh, role: mesh_pb2.Role.ValueType) -> None:
    (old,), (new,) = mesh.tiles(role), mesh.tiles(mesh_pb2.ROLE_IDLE)
    before = {name: mesh.counter(name) for name in FAILURES}
    with load(CONNECTIONS, 30) as words:
        for _ in range(ROUNDS):
            mesh.turn(new, mesh.entry(old))
            mesh.drain(old)
            old, new = new, old
        # While wrk still runs: it resets what it has open when its time is over.
        failed = {name: mesh.counter(name) - before[name] for name in FAILURES}
    assert failed == dict.fromkeys(FAILURES, 0)
    assert answered(words[0]) > 10 * CONNECTIONS
    assert "Socket errors" not in words[0]
    assert "Non-2xx" not in words[0]
