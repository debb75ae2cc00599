"""Real tiles, hardened, and both brokers: state, load, wills; the bus dies and the mesh does not care."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_orchestrator.bus import mosquitto, topics
from dlibos_orchestrator.bus.client import Address, Link
from tests.support.brokers import Embedded, Mosquitto, RunningBroker
from tests.support.commandline import get
from tests.support.keys import MESH_KEY
from tests.support.tiles import Tiles, free_port, small_mesh

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(90),
    # paho leaves the socket of a refused connection to the collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning"),
]

PATIENCE = 40.0  # seconds


class Ear:
    """Hears all that tiles say."""

    def __init__(self) -> None:
        self.observed: dict[int, mesh_pb2.TileStatus] = {}
        self.loads: list[mesh_pb2.TileLoad] = []
        self.said: list[tuple[int, str]] = []

    def received(self, topic: str, payload: bytes) -> None:
        named = topics.parse_tile_topic("m-1", topic)
        assert named is not None
        self.said.append(named)
        if named.kind == "observed":
            self.observed[named.tile] = json_format.Parse(payload, mesh_pb2.TileStatus())
        if named.kind == "load":
            self.loads.append(json_format.Parse(payload, mesh_pb2.TileLoad()))

    def ready(self) -> set[int]:
        return {tile for tile, status in self.observed.items() if status.ready and not status.gone}

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110 - what is awaited has no event
                await asyncio.sleep(0.02)


class Mesh:
    """A small mesh, its bus, and somebody who listens."""

    def __init__(self, broker: RunningBroker, mesh: mesh_pb2.Mesh, tiles: Tiles, port: int, key: bytes | None) -> None:
        self.broker = broker
        self.mesh = mesh
        self.tiles = tiles
        self.port = port
        self.ear = Ear()
        filters = [topics.tile_topic(mesh.id, "+", kind) for kind in topics.TILE_SAYS]
        self.link = Link(Address(broker.path, mesh.id, topics.ORCHESTRATOR, key), filters, self.ear.received)

    async def settle(self) -> None:
        for tile in (0, 1, 2):
            self.tiles.start(tile, 7)
        await self.ear.until(lambda: self.ear.ready() == {0, 1, 2})

    def serves(self) -> bool:
        return b"DLibOS" in get(self.port, "/")


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dl-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["embedded", "mosquitto", "unprotected"])
async def mesh(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[Mesh]:
    if request.param == "mosquitto" and mosquitto.find(mosquitto.PROGRAM) is None:
        pytest.skip("there is no mosquitto")
    key = None if request.param == "unprotected" else MESH_KEY
    port = free_port()
    wanted = small_mesh(directory, port, "protected" if key else "unprotected")
    kind = Mosquitto if request.param == "mosquitto" else Embedded
    made = Mesh(kind(directory, wanted, key), wanted, Tiles(directory, wanted, key), port, key)
    await made.broker.start()
    listening = asyncio.create_task(made.link.run())
    yield made
    made.tiles.close()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await made.broker.stop()


async def test_tiles_say_how_they_are_and_obey(mesh: Mesh) -> None:
    await mesh.settle()
    stack = mesh.ear.observed[1]
    assert (stack.incarnation, stack.epoch, sorted(stack.linked), stack.role) == (7, 1, [0, 2], mesh_pb2.ROLE_STACK)
    await mesh.ear.until(lambda: {load.tile for load in mesh.ear.loads} == {0, 1, 2})
    assert all(load.incarnation == 7 and 0 <= load.busy <= 1 for load in mesh.ear.loads)
    # A document that makes no sense, one for another mesh's shape, one of an older epoch; then a newer one.
    topic = topics.tile_topic("m-1", 1, "desired")
    for text, why in (("{", "Failed to load JSON"), ('{"id": "m-1", "epoch": 9}', "has 0 entries")):
        mesh.link.keep(topic, text)
        await mesh.ear.until(lambda why=why: why in mesh.tiles.log(1))  # type: ignore[misc]
    mesh.mesh.epoch = 5
    mesh.link.keep(topic, json_format.MessageToJson(mesh.mesh))
    await mesh.ear.until(lambda: mesh.ear.observed[1].epoch == 5)
    mesh.mesh.epoch = 4
    mesh.link.keep(topic, json_format.MessageToJson(mesh.mesh))
    mesh.mesh.epoch = 6
    mesh.link.keep(topic, json_format.MessageToJson(mesh.mesh))
    await mesh.ear.until(lambda: mesh.ear.observed[1].epoch == 6)
    assert "the tile stays as it is" in mesh.tiles.log(1)


async def test_who_dies_or_hangs_is_gone_and_comes_back(mesh: Mesh) -> None:
    await mesh.settle()
    mesh.tiles.kill(2)
    await mesh.ear.until(lambda: mesh.ear.observed[2].gone)
    assert mesh.ear.observed[2].incarnation == 7
    mesh.tiles.start(2, 8)
    await mesh.ear.until(lambda: mesh.ear.ready() == {0, 1, 2} and mesh.ear.observed[2].incarnation == 8)
    hung = mesh.tiles.processes[1].pid
    os.kill(hung, signal.SIGSTOP)
    try:
        await mesh.ear.until(lambda: mesh.ear.observed[1].gone)
    finally:
        os.kill(hung, signal.SIGCONT)
    # The same process again: its state is said anew, and newer than its will.
    await mesh.ear.until(lambda: mesh.ear.ready() == {0, 1, 2})
    mesh.tiles.processes[0].terminate()
    await mesh.ear.until(lambda: mesh.ear.observed[0].gone)
    assert mesh.tiles.processes[0].wait(10) == 0


async def test_the_bus_comes_late_goes_and_comes_back(mesh: Mesh) -> None:
    await mesh.broker.stop()
    for tile in (0, 1, 2):
        mesh.tiles.start(tile, 7)
    await mesh.ear.until(lambda: all("no bus" in mesh.tiles.log(tile) for tile in (0, 1, 2)))
    await mesh.ear.until(lambda: all(mesh.tiles.ready(tile) for tile in (0, 1, 2)))
    assert await asyncio.to_thread(mesh.serves)
    for _ in range(2):
        mesh.ear.observed.clear()
        await mesh.broker.start()
        await mesh.ear.until(lambda: mesh.ear.ready() == {0, 1, 2})
        await mesh.broker.stop()
        assert await asyncio.to_thread(mesh.serves)
    assert all(process.poll() is None for process in mesh.tiles.processes.values())
    await mesh.broker.start()
