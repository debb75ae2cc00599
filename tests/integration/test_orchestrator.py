"""A mesh and its orchestrator: tiles that die or hang are healed, and the orchestrator itself may die at any time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dlibos.control.v1 import orchestrator_pb2

from dlibos_orchestrator.bus import mosquitto, topics
from dlibos_orchestrator.bus.client import Address, ask
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory
from tests.support.commandline import dlibos, get, up

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PATIENCE = 40.0  # seconds


class Mesh:
    """A mesh that is up: what runs, and its files."""

    def __init__(self, base: Path, port: int) -> None:
        self.home = MeshDirectory(base / "default")
        self.port = port

    def pids(self, module: str = processes.TILE_MODULE) -> dict[int | None, int]:
        return {one.tile: one.pid for one in processes.scan(self.home.path) if one.module == module}

    def ready(self) -> dict[int, int]:
        """Return the tiles whose present process says it is ready, with its id."""
        pids = self.pids()
        statuses = {tile: self.home.read_status(tile) for tile in pids if tile is not None}
        return {t: s.pid for t, s in statuses.items() if s is not None and s.ready and not s.gone and s.pid == pids[t]}

    def serves(self) -> bool:
        try:
            return b"DLibOS" in get(self.port, "/")
        except OSError:
            return False

    def ask(self, request: orchestrator_pb2.Request) -> orchestrator_pb2.Reply:
        key = self.home.read_key()
        address = Address(self.home.bus, self.home.read_mesh().id, topics.OPERATOR, key)
        return asyncio.run(ask(address, request, 10.0))

    def events(self) -> list[tuple[str, int]]:
        return [(one.kind, one.tile) for one in self.ask(orchestrator_pb2.Request(list_events=True)).events]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def mesh(base: Path, port: int) -> Mesh:
    up("--nic", "user", "--publish", f"{port}:80")
    return Mesh(base, port)


def healed(mesh: Mesh, before: dict[int, int], *tiles: int) -> bool:
    now = mesh.ready()
    return now.keys() == before.keys() and all((now[t] != before[t]) == (t in tiles) for t in before)


@pytest.mark.parametrize("tile", [0, 1, 2])
def test_a_tile_that_dies_is_started_again_in_place(mesh: Mesh, tile: int) -> None:
    before = mesh.ready()
    os.kill(before[tile], signal.SIGKILL)
    until(lambda: healed(mesh, before, tile))
    until(mesh.serves)
    assert ("dead", tile) in mesh.events()


def test_a_tile_that_hangs_is_fenced_and_started_again(mesh: Mesh) -> None:
    before = mesh.ready()
    os.kill(before[1], signal.SIGSTOP)
    until(lambda: healed(mesh, before, 1))
    until(mesh.serves)
    assert ("fenced", 1) in mesh.events()


def test_the_orchestrator_dies_and_nobody_notices_until_it_is_back(mesh: Mesh) -> None:
    before = mesh.ready()
    for _ in range(3):
        (first,) = mesh.pids(processes.ORCHESTRATOR_MODULE).values()
        os.kill(first, signal.SIGKILL)
        until(lambda: not mesh.pids(processes.ORCHESTRATOR_MODULE))
        assert mesh.serves()
        up("--nic", "user", "--publish", f"{mesh.port}:80")
        assert mesh.ready() == before
    # It works as the one before did: what dies is started, what was wanted is still wanted.
    os.kill(before[2], signal.SIGKILL)
    until(lambda: healed(mesh, before, 2))
    until(mesh.serves)


def test_an_orchestrator_that_stood_still_takes_no_tile_for_hung(mesh: Mesh) -> None:
    before = mesh.ready()
    (pid,) = mesh.pids(processes.ORCHESTRATOR_MODULE).values()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(8)  # longer than any tile may be silent
    os.kill(pid, signal.SIGCONT)
    until(lambda: mesh.ask(orchestrator_pb2.Request(list_events=True)).error == "")
    time.sleep(2)
    assert mesh.ready() == before
    assert not [event for event in mesh.events() if event[0] in {"fenced", "dead"}]


def test_what_cannot_be_is_refused_with_a_reason(mesh: Mesh) -> None:
    before = mesh.home.read_spec()
    request = orchestrator_pb2.Request()
    request.scale.stack = 1000
    assert "do not fit" in mesh.ask(request).error
    request.scale.stack = 2
    request.dry_run = True
    reply = mesh.ask(request)
    assert (reply.error, reply.spec.stack) == ("", 2)
    assert mesh.home.read_spec() == before


def test_mosquitto_in_place_of_the_embedded_broker(mesh: Mesh) -> None:
    if mosquitto.find(mosquitto.PROGRAM) is None:
        pytest.skip("there is no mosquitto")
    before = mesh.ready()
    (pid,) = mesh.pids(processes.ORCHESTRATOR_MODULE).values()
    os.kill(pid, signal.SIGTERM)
    until(lambda: not mesh.pids(processes.ORCHESTRATOR_MODULE))
    log = mesh.home.log_file("orchestrator")
    processes.spawn(processes.ORCHESTRATOR_MODULE, mesh.home.path, ["--broker", "mosquitto"], log)
    until(lambda: bool(mesh.pids(processes.BROKER_MODULE)))
    os.kill(before[0], signal.SIGKILL)
    until(lambda: healed(mesh, before, 0))
    # Mosquitto dies: the orchestrator starts it again, the tiles come back to it.
    (broker,) = mesh.pids(processes.BROKER_MODULE).values()
    os.kill(broker, signal.SIGKILL)
    until(lambda: mesh.pids(processes.BROKER_MODULE) not in ({}, {None: broker}))
    before = mesh.ready()
    os.kill(before[1], signal.SIGSTOP)
    until(lambda: healed(mesh, before, 1))
    until(mesh.serves)
    assert dlibos("down").returncode == 0
