"""The orchestrator's and the operators' end of the bus: one connection that comes back, and one question at a time."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiomqtt
from dlibos.control.v1 import orchestrator_pb2
from google.protobuf import json_format

from dlibos_orchestrator.bus import topics
from dlibos_orchestrator.errors import MeshStateError
from dlibos_orchestrator.model.credentials import bus_password

log: Final = logging.getLogger(__name__)
_QUIET: Final = logging.getLogger(f"{__name__}.library")  # it says what is said here, several times
_QUIET.setLevel(logging.CRITICAL)

KEEPALIVE: Final = 3  # seconds
ANSWER: Final = 5.0  # seconds a broker may take for anything; longer than KEEPALIVE, after which paho gives up
FIRST_RETRY: Final = 0.05  # seconds, doubling up to
LAST_RETRY: Final = 1.0
NOTICE: Final = 0.1  # seconds
QOS: Final = 1


class Address(NamedTuple):
    """Where the bus of a mesh is, and as whom to go there. Without a mesh key no password is asked for."""

    socket: Path
    mesh_id: str
    user: str
    mesh_key: bytes | None


def client(address: Address, will: aiomqtt.Will | None = None) -> aiomqtt.Client:
    """Return a client, not connected yet."""
    return aiomqtt.Client(
        str(address.socket),
        transport="unix",
        identifier=f"{address.mesh_id}-{address.user}-{secrets.token_hex(4)}",
        username=address.user,
        password=None if address.mesh_key is None else bus_password(address.mesh_key, address.user),
        keepalive=KEEPALIVE,
        timeout=ANSWER,
        logger=_QUIET,
        will=will,
    )


class Link:
    """A connection that is made again whenever it is lost, with all its subscriptions and all it keeps retained.

    `received` gets every message: its topic and payload.
    """

    def __init__(
        self,
        address: Address,
        filters: Sequence[str],
        received: Callable[[str, bytes], None],
        will: aiomqtt.Will | None = None,
    ) -> None:
        self._address = address
        self._filters = filters
        self._received = received
        self._will = will
        self._kept: dict[str, str] = {}
        self._unsaid: dict[str, None] = {}  # topics whose retained message has changed, in order
        self._passing: list[tuple[str, str]] = []
        self._news = asyncio.Event()
        self.up = asyncio.Event()

    def keep(self, topic: str, payload: str) -> None:
        """Publish a retained message; the latest of a topic is published again after every new connection."""
        self._kept[topic] = payload
        self._unsaid[topic] = None
        self._news.set()

    def say(self, topic: str, payload: str) -> None:
        """Publish a message for those who listen now; while the link is down it is lost."""
        if self.up.is_set():
            self._passing.append((topic, payload))
            self._news.set()

    async def run(self) -> None:
        """Connect, and again, until cancelled."""
        pause, heard_of = FIRST_RETRY, ""
        while True:
            began = asyncio.get_running_loop().time()
            try:
                async with client(self._address, self._will) as connection:
                    heard_of = ""
                    await self._work(connection)
            except aiomqtt.MqttError as error:
                if str(error) != heard_of:
                    log.warning("bus: %s; trying again", heard_of := str(error))
            finally:
                self.up.clear()
            if asyncio.get_running_loop().time() - began > LAST_RETRY:
                pause = FIRST_RETRY
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_RETRY)

    async def _work(self, connection: aiomqtt.Client) -> None:
        await connection.subscribe([(one, QOS) for one in self._filters])
        self._unsaid = dict.fromkeys(self._kept)
        self._news.set()
        self.up.set()
        try:
            await while_connected(self._listen(connection), self._speak(connection))
        except asyncio.CancelledError:
            if self._will is not None:  # who says goodbye to the broker leaves no will
                await connection.publish(self._will.topic, self._will.payload, retain=self._will.retain)
            raise

    async def _listen(self, connection: aiomqtt.Client) -> None:
        async for message in connection.messages:
            if isinstance(message.payload, bytes):
                self._received(message.topic.value, message.payload)

    async def _speak(self, connection: aiomqtt.Client) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._unsaid:
                topic = next(iter(self._unsaid))
                payload = self._kept[topic]
                await connection.publish(topic, payload, qos=QOS, retain=True)
                if self._kept[topic] == payload:
                    self._unsaid.pop(topic, None)
            passing, self._passing = self._passing, []
            for topic, payload in passing:
                await connection.publish(topic, payload)


async def while_connected(listen: Coroutine[Any, Any, None], speak: Coroutine[Any, Any, None]) -> None:
    """Run both until one of them ends; end the other, and raise what the one did."""
    tasks = [listening := asyncio.ensure_future(listen), asyncio.ensure_future(speak)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if listening not in done:  # aiomqtt complains of a lost connection that its listener did not notice
            await asyncio.wait((listening,), timeout=NOTICE)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask(address: Address, request: orchestrator_pb2.Request, patience: float) -> orchestrator_pb2.Reply:
    """Send a request to the orchestrator and return its reply; `request.id` is drawn here.

    MeshStateError when there is no bus, or no reply within `patience` seconds.
    """
    request.id = secrets.token_hex(8)
    try:
        async with asyncio.timeout(patience), client(address) as connection:
            await connection.subscribe(topics.orchestrator_topic(address.mesh_id, f"reply/{request.id}"), qos=QOS)
            asked = json_format.MessageToJson(request, indent=None)
            await connection.publish(topics.orchestrator_topic(address.mesh_id, "request"), asked, qos=QOS)
            async for message in connection.messages:
                return json_format.Parse(_bytes(message.payload), orchestrator_pb2.Reply())
    except (TimeoutError, aiomqtt.MqttError, json_format.ParseError) as error:
        why = str(error) or f"no reply within {patience:g} s"
        raise MeshStateError(
            f"the orchestrator does not answer ({why}); see `dlibos ps` and run `dlibos up`"
        ) from error
    raise MeshStateError("the bus ended; see `dlibos ps` and run `dlibos up`")


def _bytes(payload: object) -> bytes:
    return payload if isinstance(payload, bytes) else b""
