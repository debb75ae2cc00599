"""Both brokers: retained messages, wills, passwords, rights."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import pytest

from dlibos_orchestrator.bus.client import Address, client
from dlibos_orchestrator.bus.topics import orchestrator_topic, tile_topic
from dlibos_orchestrator.model.credentials import bus_password
from tests.orchestrator.bus.conftest import MESH, next_message
from tests.support.brokers import RunningBroker
from tests.support.keys import MESH_KEY

Addresses = Callable[[str], Address]

pytestmark = pytest.mark.usefixtures("broker")

# A client of its own process: says one retained thing, leaves a will, and does no more.
TILE = """\
import asyncio, sys, aiomqtt
path, user, password, topic = sys.argv[1:]
async def main():
    will = aiomqtt.Will(topic, "gone", qos=1, retain=True)
    async with aiomqtt.Client(path, transport="unix", username=user, password=password, keepalive=2, will=will,
                              identifier=user) as client:
        await client.publish(topic, "here", qos=1, retain=True)
        print("said", flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""


async def tile_process(path: Path, tile: int) -> asyncio.subprocess.Process:
    user = f"tile-{tile}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", TILE, str(path), user, bus_password(MESH_KEY, user),
        tile_topic(MESH, tile, "observed"), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"said\n"
    return process


async def test_a_retained_message_waits_for_who_comes_later(address: Addresses) -> None:
    topic = tile_topic(MESH, 1, "desired")
    async with client(address("orchestrator")) as orchestrator:
        await orchestrator.publish(topic, "first", qos=1, retain=True)
        await orchestrator.publish(topic, "second", qos=1, retain=True)
        async with client(address("tile-1")) as tile:
            await tile.subscribe(topic, qos=1)
            assert await next_message(tile) == (topic, b"second", True)
            await orchestrator.publish(topic, "third", qos=1, retain=True)
            assert await next_message(tile) == (topic, b"third", False)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_will_of_a_tile_that_dies_or_hangs_is_published(
    broker: RunningBroker, address: Addresses, number: signal.Signals
) -> None:
    topic = tile_topic(MESH, 2, "observed")
    async with client(address("orchestrator")) as orchestrator:
        await orchestrator.subscribe(tile_topic(MESH, "+", "observed"), qos=1)
        process = await tile_process(broker.path, 2)
        try:
            assert await next_message(orchestrator) == (topic, b"here", False)
            os.kill(process.pid, number)
            assert await next_message(orchestrator) == (topic, b"gone", False)
        finally:
            if number == signal.SIGSTOP:
                process.kill()
            await process.wait()
    async with client(address("operator")) as late:
        await late.subscribe(topic)
        assert await next_message(late) == (topic, b"gone", True)


async def test_who_says_goodbye_leaves_no_will(address: Addresses) -> None:
    topic = tile_topic(MESH, 1, "observed")
    async with client(address("orchestrator")) as orchestrator:
        await orchestrator.subscribe(topic)
        async with client(address("tile-1"), aiomqtt.Will(topic, "gone", qos=1, retain=True)):
            pass
        await orchestrator.publish(topic, "next")
        assert await next_message(orchestrator) == (topic, b"next", False)


async def test_the_same_user_comes_anew_and_its_old_will_is_the_older_word(address: Addresses) -> None:
    """As a tile does that lost its connection before the broker noticed."""
    topic = tile_topic(MESH, 1, "observed")
    will = aiomqtt.Will(topic, "gone", qos=1, retain=True)

    def tile() -> aiomqtt.Client:
        return aiomqtt.Client(
            str(address("tile-1").socket), transport="unix", identifier="m-1-tile-1-7", username="tile-1",
            password=bus_password(MESH_KEY, "tile-1"), will=will,
        )  # fmt: skip

    async with client(address("orchestrator")) as orchestrator:
        await orchestrator.subscribe(topic, qos=1)
        old = tile()
        await old.__aenter__()
        async with tile() as new:
            await new.publish(topic, "here", qos=1, retain=True)
            assert await next_message(orchestrator) == (topic, b"gone", False)
            assert await next_message(orchestrator) == (topic, b"here", False)
            async with client(address("operator")) as late:
                await late.subscribe(topic)
                assert await next_message(late) == (topic, b"here", True)
        with pytest.raises(aiomqtt.MqttError):
            await next_message(old)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("tile-1", bus_password(MESH_KEY, "tile-2")),
        ("orchestrator", bus_password(MESH_KEY, "operator")),
        ("orchestrator", None),
        ("nobody", bus_password(MESH_KEY, "nobody")),
        (None, None),
    ],
)
async def test_nobody_comes_in_without_the_right_password(
    broker: RunningBroker, user: str | None, password: str | None
) -> None:
    with pytest.raises(aiomqtt.MqttError):
        async with aiomqtt.Client(str(broker.path), transport="unix", username=user, password=password):
            pass


async def test_a_stranger_with_the_orchestrators_client_id_does_not_disturb_it(
    broker: RunningBroker, address: Addresses
) -> None:
    topic = tile_topic(MESH, 1, "observed")
    right, wrong = (
        aiomqtt.Client(
            str(broker.path), transport="unix", identifier="the-one", username="orchestrator", password=password
        )
        for password in (bus_password(MESH_KEY, "orchestrator"), "wrong")
    )
    async with right:
        await right.subscribe(topic)
        with pytest.raises(aiomqtt.MqttError):
            await wrong.__aenter__()
        async with client(address("tile-1")) as tile:
            await tile.publish(topic, "here", qos=1)
        assert await next_message(right) == (topic, b"here", False)


async def test_a_tile_cannot_write_what_is_not_its_own(address: Addresses) -> None:
    async with client(address("orchestrator")) as orchestrator, client(address("tile-1")) as tile:
        await orchestrator.subscribe(f"dlibos/{MESH}/#", qos=1)
        for topic in (
            tile_topic(MESH, 2, "observed"),
            tile_topic(MESH, 2, "load"),
            tile_topic(MESH, 1, "desired"),
            orchestrator_topic(MESH, "request"),
            orchestrator_topic(MESH, "observed"),
            orchestrator_topic(MESH, "reply/1"),
        ):
            await tile.publish(topic, "forged", qos=1, retain=True)
        await tile.publish(tile_topic(MESH, 1, "load"), "honest", qos=1)
        assert await next_message(orchestrator) == (tile_topic(MESH, 1, "load"), b"honest", False)


async def test_an_operator_may_only_ask(address: Addresses) -> None:
    async with client(address("orchestrator")) as orchestrator, client(address("operator")) as operator:
        await orchestrator.subscribe(f"dlibos/{MESH}/#", qos=1)
        for topic in (tile_topic(MESH, 1, "desired"), tile_topic(MESH, 1, "observed")):
            await operator.publish(topic, "forged", qos=1)
        await operator.publish(orchestrator_topic(MESH, "request"), "please", qos=1)
        assert await next_message(orchestrator) == (orchestrator_topic(MESH, "request"), b"please", False)


async def test_a_tile_cannot_read_what_is_not_its_own(address: Addresses) -> None:
    """Neither by its own subscriptions nor by those of others that were there before it came."""
    mine, secret = tile_topic(MESH, 1, "desired"), tile_topic(MESH, 2, "observed")
    async with client(address("orchestrator")) as orchestrator:
        await orchestrator.subscribe(f"dlibos/{MESH}/#")
        await orchestrator.publish(secret, "retained", qos=1, retain=True)
        async with client(address("tile-1")) as tile:
            for wide in ("#", f"dlibos/{MESH}/#", tile_topic(MESH, "+", "desired"), secret):
                await tile.subscribe(wide, qos=1)
            await tile.subscribe(mine, qos=1)
            await orchestrator.publish(tile_topic(MESH, 2, "desired"), "other", qos=1, retain=True)
            await orchestrator.publish(secret, "passing", qos=1)
            await orchestrator.publish(mine, "mine", qos=1)
            assert await next_message(tile) == (mine, b"mine", False)
