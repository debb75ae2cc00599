"""The tile's end of the control plane: MQTT over a unix socket, the only family a hardened tile may use.

proto/dlibos/control/v1/orchestrator.proto says what is said under which topic. The bus may be away at any time: the
tile works on, tries again for ever and says its state anew when it is back. No packet waits for anything here, and
nothing is kept for the bus but the latest state and the last FAULTS faults.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, NamedTuple

import aiomqtt
from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

log: Final = logging.getLogger(__name__)
_QUIET: Final = logging.getLogger(f"{__name__}.library")  # it says what is said here, several times
_QUIET.setLevel(logging.CRITICAL)

KEEPALIVE: Final = 3  # seconds; the broker gives a silent tile up after one and a half
ANSWER: Final = 5.0  # seconds a broker may take for anything; longer than KEEPALIVE, after which paho gives up itself
FIRST_RETRY: Final = 0.05  # seconds, doubling up to
LAST_RETRY: Final = 1.0
NOTICE: Final = 0.1  # seconds
BEAT: Final = 1.0  # seconds between two words on the load
FAULTS: Final = 64  # events kept while the bus is away or busy; the journal has them all
PARTING: Final = 0.5  # seconds for the last words
QOS: Final = 1


class Tile(NamedTuple):
    """Who speaks: the mesh's id, the tile, the process, and the password where the mesh is protected."""

    mesh_id: str
    number: int
    incarnation: int
    password: str | None

    def topic(self, kind: str) -> str:
        """Return the topic of "desired", "observed", "load" or "fault"."""
        return f"dlibos/{self.mesh_id}/tile/{self.number}/{kind}"


class Owner(NamedTuple):
    """What the tile does for its bus: `desired` takes a new desired state, `load` tells the load, as JSON; `greet` is
    called when a connection is there, and says the tile's state."""

    desired: Callable[[str], None]
    load: Callable[[], str]
    greet: Callable[[], None]


class Bus:
    """The connection of `tile` to the broker at the unix socket `path`."""

    def __init__(self, path: str, tile: Tile, owner: Owner) -> None:
        self._path = path
        self._tile = tile
        self._owner = owner
        self._observed = ""
        self._faults: deque[str] = deque(maxlen=FAULTS)
        self._news = asyncio.Event()
        self._said = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and again whenever the connection is lost, until `close`."""
        self._task = asyncio.create_task(self._run())

    def say(self, observed: str) -> None:
        """Publish the tile's state, TileStatus as JSON; only the latest matters."""
        self._observed = observed
        self._said.clear()
        self._news.set()

    def fault(self, event: str) -> None:
        """Publish a FaultEvent, as JSON."""
        self._faults.append(event)
        self._news.set()

    async def close(self) -> None:
        """Let the last state go out, if it can, and part: the will is not published."""
        if self._task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(PARTING):
                await self._said.wait()
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=PARTING)

    async def _run(self) -> None:
        loop, pause, heard_of = asyncio.get_running_loop(), FIRST_RETRY, ""
        while True:
            began = loop.time()
            try:
                async with self._client() as client:
                    heard_of = ""
                    await self._work(client)
            except aiomqtt.MqttError as error:
                if str(error) != heard_of:
                    log.warning("no bus: %s; the tile works on and tries again", heard_of := str(error))
            if loop.time() - began > LAST_RETRY:
                pause = FIRST_RETRY
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_RETRY)

    def _client(self) -> aiomqtt.Client:
        tile = self._tile
        gone = mesh_pb2.TileStatus(tile=tile.number, incarnation=tile.incarnation, gone=True)
        will = json_format.MessageToJson(gone, indent=None)
        return aiomqtt.Client(
            self._path,
            transport="unix",
            identifier=f"{tile.mesh_id}-tile-{tile.number}-{tile.incarnation}",
            username=f"tile-{tile.number}",
            password=tile.password,
            will=aiomqtt.Will(tile.topic("observed"), will, QOS, retain=True),
            keepalive=KEEPALIVE,
            timeout=ANSWER,
            logger=_QUIET,
        )

    async def _work(self, client: aiomqtt.Client) -> None:
        await client.subscribe(self._tile.topic("desired"), qos=QOS)
        self._owner.greet()
        await _while_connected(self._listen(client), self._speak(client))

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if isinstance(message.payload, bytes):
                self._obey(message.payload)

    def _obey(self, payload: bytes) -> None:
        """A desired state that cannot be had is no reason to lose the next one, which may mend it."""
        try:
            self._owner.desired(payload.decode())
        except Exception:
            log.exception("a desired state of the mesh cannot be had; the tile stays as it is")

    async def _speak(self, client: aiomqtt.Client) -> None:
        loop = asyncio.get_running_loop()
        beat = loop.time()
        while True:
            if loop.time() >= beat:
                beat = max(beat + BEAT, loop.time())
                await client.publish(self._tile.topic("load"), self._owner.load())
            await self._catch_up(client)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(beat):
                    await self._news.wait()

    async def _catch_up(self, client: aiomqtt.Client) -> None:
        self._news.clear()
        if not self._said.is_set() and (observed := self._observed):
            await client.publish(self._tile.topic("observed"), observed, QOS, retain=True)
            if observed is self._observed:
                self._said.set()
        while self._faults:
            await client.publish(self._tile.topic("fault"), self._faults.popleft())


async def _while_connected(listen: Coroutine[Any, Any, None], speak: Coroutine[Any, Any, None]) -> None:
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
