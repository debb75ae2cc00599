"""Both brokers, for tests that must pass with either."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Protocol

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.bus import mosquitto
from dlibos_orchestrator.bus.embedded import EmbeddedBroker


class RunningBroker(Protocol):
    """A broker at the socket `path`."""

    path: Path

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Embedded:
    """In the test's own process and loop."""

    def __init__(self, directory: Path, mesh: mesh_pb2.Mesh, mesh_key: bytes | None) -> None:
        self.path = directory / "bus" / "sock"
        self._mesh_id = mesh.id
        self._mesh_key = mesh_key
        self.broker = EmbeddedBroker(self.path, mesh.id, mesh_key)

    async def start(self) -> None:
        self.broker = EmbeddedBroker(self.path, self._mesh_id, self._mesh_key)
        await self.broker.start()

    async def stop(self) -> None:
        await self.broker.stop()


class Mosquitto:
    """As the orchestrator starts it."""

    def __init__(self, directory: Path, mesh: mesh_pb2.Mesh, mesh_key: bytes | None) -> None:
        self.path = directory / "bus" / "sock"
        self._directory = directory
        mosquitto.configure(self.path.parent, mesh, mesh_key)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "dlibos_orchestrator.bus.mosquitto", "--dir", str(self._directory),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(1000):
            try:
                _, writer = await asyncio.open_unix_connection(self.path)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            await writer.wait_closed()
            return
        raise AssertionError("mosquitto does not listen")

    async def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()
