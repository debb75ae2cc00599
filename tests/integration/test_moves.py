"""Buckets move between the stack tiles of a real mesh under load, and no client notices."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_node import config
from dlibos_orchestrator.runtime import namespace, processes
from tests.support.moving_mesh import MODULE

pytestmark = pytest.mark.integration

HERE = Path(__file__).parents[2]
MOVES = 20
PATIENCE = 20.0  # seconds for one move on a busy machine


class Mesh:
    """A mesh whose tiles apply what the test writes for them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mesh, _ = config.load(directory / "mesh.json", 0)
        self.stacks = [tile.tile for tile in self.mesh.tiles if tile.role == mesh_pb2.ROLE_STACK]

    def give(self, owners: bytes) -> float:
        """Give every tile a new bucket table; return the seconds until the buckets are where they are to be."""
        self.mesh.epoch += 1
        self.mesh.owners = owners
        text = json_format.MessageToJson(self.mesh, preserving_proto_field_name=True)
        began = time.monotonic()
        for tile in self.mesh.tiles:
            (self.directory / "status" / str(tile.tile) / "next.json").write_text(text)
        while not self._settled():
            assert time.monotonic() - began < PATIENCE, [self._held(stack) for stack in self.stacks]
            time.sleep(0.01)
        return time.monotonic() - began

    def _settled(self) -> bool:
        return all(self._held(stack) == self._wanted(stack) for stack in self.stacks)

    def _held(self, stack: int) -> int:
        status = json.loads((self.directory / "status" / str(stack) / "status.json").read_text())
        held = json_format.ParseDict(status, mesh_pb2.TileStatus()).held
        return int.from_bytes(held, "little")

    def _wanted(self, stack: int) -> int:
        return sum(1 << bucket for bucket, owner in enumerate(self.mesh.owners) if owner == stack)


def dlibos(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "tests.support.moving_mesh", *arguments]


@pytest.mark.timeout(180)
def test_two_hundred_connections_do_not_notice_twenty_moves(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not namespace.can_have_tap() or shutil.which("wrk") is None:
        pytest.skip("needs a kernel TAP device and the program wrk")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(processes, "MODULES", (*processes.MODULES, MODULE))
    shape = ("--driver", "2", "--stack", "2", "--app", "2")
    try:
        subprocess.run(dlibos("up", "--wait", "--nic", "tap", *shape), check=True, timeout=60)
        mesh = Mesh(base / "default")
        load = ("wrk", "-t2", "-c200", "-d30s", "--timeout", "10s", "--latency", "http://10.77.0.2/")
        with subprocess.Popen(dlibos("exec", "--", *load), stdout=subprocess.PIPE, text=True) as client:
            took = moves(mesh)
            assert client.poll() is None, "the load ended before the moves"
            report, _ = client.communicate(timeout=60)
        with capsys.disabled():
            print(f"\n{report}moves took, in ms: {[round(seconds * 1000) for seconds in took]}")
        assert client.returncode == 0
        assert "Socket errors" not in report
        assert "Non-2xx" not in report
        requests = re.search(r"(\d+) requests in", report)
        assert requests is not None
        assert int(requests[1]) > 0
        assert len(took) == MOVES
        assert [faults_of(base / "default", tile.tile) for tile in mesh.mesh.tiles] == [0] * len(mesh.mesh.tiles)
    finally:
        processes.stop_all(base / "default")
        subprocess.run(dlibos("down"), check=True, timeout=60, env={**os.environ})


def moves(mesh: Mesh) -> list[float]:
    """Give all buckets to one stack tile, to the other, and to both."""
    first, second = mesh.stacks
    buckets = len(mesh.mesh.owners)
    time.sleep(2)  # until the load is there
    tables = [bytes([second]) * buckets, bytes([first]) * buckets, bytes([first, second]) * (buckets // 2)]
    took = []
    for number in range(MOVES):
        took.append(mesh.give(tables[number % len(tables)]))
        time.sleep(0.3)
    return took


def faults_of(directory: Path, tile: int) -> int:
    """Return how many messages of others a tile has refused."""
    status = json.loads((directory / "status" / str(tile) / "status.json").read_text())
    return json_format.ParseDict(status, mesh_pb2.TileStatus()).faults
