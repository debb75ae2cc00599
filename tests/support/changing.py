"""A real mesh that a test changes while it runs, step by step as an orchestrator would."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime import local, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.start import last_words, start_tile
from tests.support.commandline import DLIBOS

MODULE = "tests.support.following"
ROOT = Path(__file__).parents[2]
PATIENCE = 40.0  # seconds for any one step; far more than is needed
ADDRESS = "10.77.0.2"


class ChangingMesh:
    """The mesh "changing", whose tiles follow what `publish` puts before them."""

    def __init__(self, directory: MeshDirectory, key: bytes) -> None:
        self._directory = directory
        self._key = key
        self.mesh = directory.read_mesh()
        self.mesh.epoch = 1

    def entry(self, tile: int) -> mesh_pb2.Tile:
        return self.mesh.tiles[tile]

    def tiles(self, role: mesh_pb2.Role.ValueType) -> list[int]:
        return [entry.tile for entry in self.mesh.tiles if entry.role == role]

    def publish(self) -> None:
        """Tell every tile how the mesh is to be now."""
        self.mesh.epoch += 1
        self._directory.write_mesh(self.mesh)
        text = json_format.MessageToJson(self.mesh, preserving_proto_field_name=True)
        for entry in self.mesh.tiles:
            (self._directory.path / "status" / str(entry.tile) / "mesh.json").write_text(text)

    def turn(self, tile: int, like: mesh_pb2.Tile) -> None:
        """Make an idle tile what another one is, in a process of its own, and wait until it works."""
        self.end(tile)
        entry = self.entry(tile)
        entry.role, entry.domain = like.role, like.domain
        entry.app.CopyFrom(like.app)
        self.publish()
        start_tile(self._directory, self.mesh, entry, self._key, MODULE)
        self._until(tile, lambda status: status.pid == self.pid(tile) and status.ready)

    def drain(self, tile: int) -> None:
        """Let a tile finish what it has, then end it and make it idle."""
        self.entry(tile).draining = True
        self.publish()
        self._until(tile, lambda status: status.drained)
        self.end(tile)
        entry = self.entry(tile)
        entry.draining, entry.role, entry.domain = False, mesh_pb2.ROLE_IDLE, 0
        entry.ClearField("app")
        self.publish()
        start_tile(self._directory, self.mesh, entry, self._key, MODULE)
        self._until(tile, lambda status: status.pid == self.pid(tile) and status.ready)

    def end(self, tile: int) -> None:
        pid = self.pid(tile)
        os.kill(pid, signal.SIGTERM)
        self._wait(lambda: processes.reap(pid), f"tile {tile} to end")

    def pid(self, tile: int) -> int:
        return next((one.pid for one in processes.scan(self._directory.path) if one.tile == tile), 0)

    def log(self, tile: int) -> str:
        return self._directory.log_file(f"tile-{tile}").read_text()

    def counter(self, name: str) -> int:
        """Return a counter of the kernel that the clients run on, as `nstat` names it."""
        keeper = next(one.pid for one in processes.scan(self._directory.path) if one.module == processes.KEEPER_MODULE)
        found: dict[str, int] = {}
        for table in ("snmp", "netstat"):
            lines = [line.split() for line in Path(f"/proc/{keeper}/net/{table}").read_text().splitlines()]
            for names, values in zip(lines[::2], lines[1::2], strict=True):
                family = names[0].rstrip(":")
                found.update((family + each, int(value)) for each, value in zip(names[1:], values[1:], strict=True))
        return found[name]

    def _until(self, tile: int, condition: object) -> None:
        def holds() -> bool:
            status = self._directory.read_status(tile)
            assert status is None or not status.problem, status.problem
            return status is not None and bool(condition(status))  # type: ignore[operator]

        self._wait(holds, f"tile {tile}: {last_words(self._directory.log_file(f'tile-{tile}'))}")

    def _wait(self, holds: object, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():  # type: ignore[operator]
            assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
            time.sleep(0.02)


@contextmanager
def changing(monkeypatch: pytest.MonkeyPatch, options: MeshOptions) -> Iterator[ChangingMesh]:
    """Bring a mesh up whose tiles follow a file; take it down in the end."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(processes, "TILE_MODULE", MODULE)
    monkeypatch.setattr(processes, "MODULES", (*processes.MODULES, MODULE))
    key = local.draw_key()
    local.up(options, PATIENCE, lambda line: None, key)
    try:
        yield ChangingMesh(mesh_directory(options.name), key)
    finally:
        local.down(options.name)


@contextmanager
def load(connections: int, seconds: int) -> Iterator[list[str]]:
    """Run wrk against the mesh while the block runs; its words are in the list afterwards."""
    wrk = shutil.which("wrk")
    if wrk is None:
        pytest.skip("wrk is not installed")
    command = [*DLIBOS, "exec", "--name", "changing", "--", wrk, "-t1", "--latency"]
    command += [f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", f"http://{ADDRESS}/"]
    words: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        time.sleep(1)  # the connections open
        try:
            yield words
        finally:
            words.append(running.communicate(timeout=seconds + PATIENCE)[0])


def answered(text: str) -> int:
    """Return how many requests wrk had answered."""
    found = re.search(r"(\d+) requests in ", text)
    return int(found[1]) if found else 0
