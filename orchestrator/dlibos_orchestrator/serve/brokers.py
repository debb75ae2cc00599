"""Which broker is the mesh's bus: amqtt in this process, or Mosquitto as a process of the mesh."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Final, Protocol

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.bus import mosquitto
from dlibos_orchestrator.model.desired import is_protected
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory

if TYPE_CHECKING:
    from dlibos_orchestrator.bus.embedded import EmbeddedBroker

EMBEDDED: Final = "embedded"
MOSQUITTO: Final = "mosquitto"
KINDS: Final = (EMBEDDED, MOSQUITTO)
LOOK: Final = 1.0  # seconds between two looks whether Mosquitto runs


class Broker(Protocol):
    """A bus that can be started and stopped with the orchestrator."""

    async def start(self) -> None:
        """Start it; clients try again until it listens."""

    async def stop(self) -> None:
        """Stop what would not outlive the orchestrator."""


def mesh_key(directory: MeshDirectory, mesh: mesh_pb2.Mesh) -> bytes | None:
    """Return the key that passwords come from; None: the mesh is not protected, and nobody is asked for one."""
    return directory.read_key() if is_protected(mesh) else None


def make(kind: str | None, directory: MeshDirectory, mesh: mesh_pb2.Mesh, key: bytes | None) -> Broker:
    """Return the broker; without a `kind` that which the mesh had before."""
    kind = kind or (MOSQUITTO if mosquitto.configuration(directory.bus.parent).exists() else EMBEDDED)
    if kind == MOSQUITTO:
        mosquitto.configure(directory.bus.parent, mesh, key)
        return Mosquitto(directory)
    return Embedded(directory, mesh.id, key)


class Embedded:
    """amqtt, in this process."""

    def __init__(self, directory: MeshDirectory, mesh_id: str, key: bytes | None) -> None:
        self._directory = directory
        self._mesh_id = mesh_id
        self._key = key
        self._broker: EmbeddedBroker | None = None

    async def start(self) -> None:
        """Import it aside: it takes a quarter of a second in which tiles can be started."""
        module = await asyncio.to_thread(importlib.import_module, "dlibos_orchestrator.bus.embedded")
        broker: EmbeddedBroker = module.EmbeddedBroker(self._directory.bus, self._mesh_id, self._key)
        await broker.start()
        self._broker = broker

    async def stop(self) -> None:
        """Stop it."""
        if self._broker is not None:
            await self._broker.stop()


class Mosquitto:
    """Mosquitto, started where it does not run. It outlives the orchestrator, so that the tiles stay connected."""

    def __init__(self, directory: MeshDirectory) -> None:
        self._directory = directory
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and again when it has ended."""
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Look after it no more."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(LOOK)

    def _look(self) -> None:
        running = processes.scan(self._directory.path)
        for process in running:
            if process.module == processes.BROKER_MODULE and not processes.reap(process.pid):
                return
        log = self._directory.log_file("mosquitto")
        processes.spawn(processes.BROKER_MODULE, self._directory.path, [], log)
