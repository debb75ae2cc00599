"""Real tile processes of a small mesh with a bus, without an orchestrator."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model import credentials
from dlibos_orchestrator.model.desired import desired_mesh
from dlibos_orchestrator.model.options import MeshOptions, Published
from dlibos_orchestrator.runtime.directory import MeshDirectory


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def small_mesh(directory: Path, port: int, protection: str = "protected", idle: int = 0) -> mesh_pb2.Mesh:
    """A driver with the user-mode NIC, a stack and an application tile: 0, 1, 2; the bus of `directory`; written."""
    options = MeshOptions(protection=protection, nic="user", idle=idle, publish=(Published("127.0.0.1", port, 80),))
    mesh = desired_mesh(options, mesh_pb2.NIC_KIND_USER, directory, "m-1")
    mesh.bus, mesh.epoch = str(directory / "bus" / "sock"), 1
    home = MeshDirectory(directory)
    for room in ("status", "log", "noc", "mem", "bus"):
        (directory / room).mkdir(mode=0o700, exist_ok=True)
    home.write_mesh(mesh)
    return mesh


class Tiles:
    """The processes, by tile."""

    def __init__(self, directory: Path, mesh: mesh_pb2.Mesh, mesh_key: bytes | None) -> None:
        self._directory = directory
        self._mesh = mesh
        self._mesh_key = mesh_key
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, tile: int, incarnation: int) -> None:
        entry = next(entry for entry in self._mesh.tiles if entry.tile == tile)
        arguments, given = [], -1
        if self._mesh_key is not None:
            given = os.memfd_create("credentials")
            os.write(given, credentials.of_tile(self._mesh, self._mesh_key, entry))
            os.lseek(given, 0, os.SEEK_SET)
            arguments = ["--credentials-fd", str(given)]
        with (self._directory / "log" / f"tile-{tile}.log").open("ab") as log:
            self.processes[tile] = subprocess.Popen(
                [sys.executable, "-P", "-m", "dlibos_node", "--dir", str(self._directory), "--tile", str(tile),
                 "--incarnation", str(incarnation), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[given] if given >= 0 else [],
            )  # fmt: skip
        if given >= 0:
            os.close(given)

    def log(self, tile: int) -> str:
        return (self._directory / "log" / f"tile-{tile}.log").read_text()

    def ready(self, tile: int) -> bool:
        """Whether a tile has written that it is ready."""
        status = MeshDirectory(self._directory).read_status(tile)
        return status is not None and status.ready and status.pid == self.processes[tile].pid

    def kill(self, tile: int) -> None:
        process = self.processes.pop(tile)
        process.kill()
        process.wait()

    def close(self) -> None:
        for tile in list(self.processes):
            self.kill(tile)
