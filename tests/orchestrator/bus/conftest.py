"""A broker of either kind, and clients that note what they hear."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiomqtt
import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.bus import mosquitto
from dlibos_orchestrator.bus.client import Address
from tests.support.brokers import Embedded, Mosquitto, RunningBroker
from tests.support.keys import MESH_KEY

MESH = "m-1"
PATIENCE = 20.0  # seconds; nothing takes nearly as long


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short enough for a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="dl-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def mesh() -> mesh_pb2.Mesh:
    return mesh_pb2.Mesh(id=MESH, width=2, height=2)


@pytest.fixture(params=["embedded", "mosquitto"])
async def broker(request: pytest.FixtureRequest, directory: Path, mesh: mesh_pb2.Mesh) -> AsyncIterator[RunningBroker]:
    made: RunningBroker
    if request.param == "mosquitto":
        if mosquitto.find(mosquitto.PROGRAM) is None:
            pytest.skip("there is no mosquitto")
        made = Mosquitto(directory, mesh, MESH_KEY)
    else:
        made = Embedded(directory, mesh, MESH_KEY)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def address(directory: Path) -> Callable[[str], Address]:
    return lambda user: Address(directory / "bus" / "sock", MESH, user, MESH_KEY)


async def until(true: Callable[[], bool]) -> None:
    """Return when it is true; a failure says so."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.01)


async def next_message(client: aiomqtt.Client) -> tuple[str, bytes, bool]:
    """Return topic, payload and retain flag of the next message."""
    async with asyncio.timeout(PATIENCE):
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            return message.topic.value, message.payload, message.retain
    raise AssertionError("the connection ended")
