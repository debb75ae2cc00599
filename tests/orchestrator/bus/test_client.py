"""The orchestrator's link comes back with all it keeps; an operator's question is answered, or not in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiomqtt
import pytest
from dlibos.control.v1 import orchestrator_pb2
from google.protobuf import json_format

from dlibos_orchestrator.bus.client import Address, Link, ask, client
from dlibos_orchestrator.bus.topics import orchestrator_topic, tile_topic
from dlibos_orchestrator.errors import MeshStateError
from tests.orchestrator.bus.conftest import MESH, next_message, until
from tests.support.brokers import RunningBroker

Addresses = Callable[[str], Address]
pytestmark = [
    pytest.mark.usefixtures("broker"),
    # paho leaves the socket of a refused connection to the collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning"),
]
WILL = orchestrator_topic(MESH, "observed")
DESIRED = tile_topic(MESH, 1, "desired")


class Ends:
    """A link and what it received."""

    def __init__(self, address: Address) -> None:
        self.received: list[tuple[str, bytes]] = []
        filters = [tile_topic(MESH, "+", "observed"), orchestrator_topic(MESH, "request")]
        will = aiomqtt.Will(WILL, "gone", 1, retain=True)
        self.link = Link(address, filters, lambda topic, payload: self.received.append((topic, payload)), will)


@pytest.fixture
async def ends(address: Addresses) -> AsyncIterator[Ends]:
    made = Ends(address("orchestrator"))
    running = asyncio.create_task(made.link.run())
    await asyncio.wait_for(made.link.up.wait(), 20)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_broker_that_lost_everything_gets_it_back(
    broker: RunningBroker, address: Addresses, ends: Ends
) -> None:
    ends.link.keep(DESIRED, "old")
    ends.link.keep(DESIRED, "new")
    await broker.stop()
    await until(lambda: not ends.link.up.is_set())
    ends.link.say(orchestrator_topic(MESH, "event"), "nobody hears it")
    ends.link.keep(tile_topic(MESH, 2, "desired"), "meanwhile")
    await broker.start()
    async with client(address("tile-1")) as one, client(address("tile-2")) as two:
        await one.subscribe(DESIRED)
        await two.subscribe(tile_topic(MESH, 2, "desired"))
        assert (await next_message(one))[1] == b"new"
        assert (await next_message(two))[1] == b"meanwhile"
        await one.publish(tile_topic(MESH, 1, "observed"), "here", qos=1, retain=True)
        await until(lambda: (tile_topic(MESH, 1, "observed"), b"here") in ends.received)


async def test_an_empty_message_takes_a_retained_one_back(address: Addresses, ends: Ends) -> None:
    ends.link.keep(DESIRED, "wanted")
    ends.link.keep(WILL, "there")
    async with client(address("operator")) as early:
        await early.subscribe(DESIRED)
        assert (await next_message(early))[1] == b"wanted"
        ends.link.keep(DESIRED, "")
        assert (await next_message(early))[1] == b""
    async with client(address("operator")) as late:
        await late.subscribe([(DESIRED, 0), (WILL, 0)])
        assert (await next_message(late))[:2] == (WILL, b"there")


async def test_a_link_that_is_ended_says_that_it_has_gone(address: Addresses) -> None:
    ended = Ends(address("orchestrator"))
    running = asyncio.create_task(ended.link.run())
    await asyncio.wait_for(ended.link.up.wait(), 20)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    async with client(address("operator")) as late:
        await late.subscribe(WILL)
        assert await next_message(late) == (WILL, b"gone", True)


async def test_a_question_is_answered(address: Addresses, ends: Ends) -> None:
    asking = asyncio.create_task(ask(address("operator"), orchestrator_pb2.Request(drain=3), 20.0))
    await until(lambda: bool(ends.received))
    request = json_format.Parse(ends.received[0][1], orchestrator_pb2.Request())
    assert request.drain == 3
    reply = orchestrator_pb2.Reply(id=request.id, error="no such tile")
    ends.link.say(orchestrator_topic(MESH, f"reply/{request.id}"), json_format.MessageToJson(reply))
    assert (await asking).error == "no such tile"


async def test_nobody_waits_for_ever(broker: RunningBroker, address: Addresses) -> None:
    with pytest.raises(MeshStateError, match=r"no reply within 0\.2 s"):
        await ask(address("operator"), orchestrator_pb2.Request(drain=3), 0.2)
    await broker.stop()
    with pytest.raises(MeshStateError, match="does not answer"):
        await ask(address("operator"), orchestrator_pb2.Request(drain=3), 20.0)
    await broker.start()
