"""The reconcile loop: observe, plan, do one thing, again. Level-driven: what was missed is seen at the next look.

What lasts is in the mesh's directory and written before it is said: spec.json (what the user wants) and mesh.json (what
the tiles are to be now). All else is learned anew after a crash: which processes run from the process table, what they
are from what they say when the bus is back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from typing import Final, Protocol

import aiomqtt
from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from dlibos_orchestrator.bus import topics
from dlibos_orchestrator.bus.client import Address, Link
from dlibos_orchestrator.errors import OrchestratorError
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.plan import SETTLED, Action, Kill, Start, Wait, Write, next_action, steps
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.tiles import Running
from dlibos_orchestrator.serve.autoscaling import Autoscaling
from dlibos_orchestrator.serve.deaths import Deaths
from dlibos_orchestrator.serve.events import Events
from dlibos_orchestrator.serve.requests import Requests
from dlibos_orchestrator.serve.world import World

log: Final = logging.getLogger(__name__)

SCAN: Final = 1.0  # seconds between two looks at the process table, where nothing says that it has changed
TICK: Final = 0.5  # seconds; who has not ticked for three times as long stood still, and could hear nobody
RETRY: Final = 1.0  # seconds after something that should not happen


class Tiles(Protocol):
    """What runs the tiles (runtime/tiles.py). All calls block."""

    def start(self, mesh: mesh_pb2.Mesh, tile: int, incarnation: int) -> int:
        """Start a tile's process and return its id."""

    def kill(self, tile: int) -> None:
        """Kill a tile's process; it is gone when this returns."""

    def running(self) -> dict[int, Running]:
        """Return the tiles that have a process."""


class Orchestrator:
    """The orchestrator of the mesh in `directory`. With a mesh key it says who it is on the bus."""

    def __init__(self, directory: MeshDirectory, tiles: Tiles, mesh_key: bytes | None) -> None:
        self._directory = directory
        self._tiles = tiles
        self.mesh = directory.read_mesh()
        self.spec = directory.read_spec()
        self._events = Events(self._publish_event)
        self._world = World(self._noticed)
        self._requests = Requests(self, self._publish_reply)
        self._autoscaling = Autoscaling(self, self._requests.received, self._events.add)
        self._changed = asyncio.Event()  # look again
        self._stale = True  # the process table may have changed
        self._scanned = 0.0
        self._ticked = 0.0
        self._steps: tuple[tuple[int, int], list[str]] = ((-1, -1), [])
        said = [topics.tile_topic(self.mesh.id, "+", kind) for kind in topics.TILE_SAYS]
        self.link = Link(
            Address(directory.bus, self.mesh.id, topics.ORCHESTRATOR, mesh_key),
            [*said, self._topic("request")],
            self._received,
            aiomqtt.Will(
                self._topic("observed"), _text(orchestrator_pb2.OrchestratorStatus(gone=True)), 1, retain=True
            ),
        )

    @property
    def observed(self) -> Mapping[int, Observed]:
        """The tiles as they are."""
        return self._world.observed

    def events(self) -> list[orchestrator_pb2.Event]:
        """Return the last events, the oldest first."""
        return list(self._events.last)

    def thoughts(self, spec: orchestrator_pb2.Spec) -> list[str]:
        """Return what the policy of a spec thinks of each role."""
        return self._autoscaling.thoughts(spec)

    def want(self, spec: orchestrator_pb2.Spec, why: str) -> None:
        """Make this the spec. OSError when it cannot be written down: then nothing has changed."""
        self._directory.write_spec(spec)
        self.spec = spec
        self._events.add("wanted", -1, why)
        self._wake()

    async def run(self) -> None:
        """Work until cancelled."""
        deaths = Deaths(self._process_ended)
        self._publish_mesh(self.mesh)
        works = [
            self.link.run(),
            self._requests.run(),
            self._autoscaling.run(),
            self._tick(),
            self._reconcile(deaths),
        ]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            deaths.close()

    # --- observe ------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._changed.set()

    def _process_ended(self) -> None:
        self._stale = True
        self._wake()

    def _received(self, topic: str, payload: bytes) -> None:
        """What cannot be read says nothing: it may come from a tile in the attacker's hands."""
        if topic == self._topic("request"):
            self._requests.received(payload)
            return
        named = topics.parse_tile_topic(self.mesh.id, topic)
        if named is None:
            return
        try:
            self._heard(named, payload)
        except (json_format.ParseError, UnicodeDecodeError, ValueError):
            self._events.add("garbled", named.tile, f"its {named.kind} makes no sense")

    def _heard(self, named: topics.TileTopic, payload: bytes) -> None:
        """A tile speaks for itself alone, whatever number the message gives."""
        now = time.monotonic()
        if named.kind == "observed":
            status = json_format.Parse(payload, mesh_pb2.TileStatus(), ignore_unknown_fields=True)
            status.tile = named.tile
            self._stale = self._stale or status.gone
            self._world.status(status, now)
            self._wake()
        elif named.kind == "load":
            load = json_format.Parse(payload, mesh_pb2.TileLoad(), ignore_unknown_fields=True)
            load.tile = named.tile
            self._world.load(load, now)
        elif named.kind == "fault":
            fault = json_format.Parse(payload, mesh_pb2.FaultEvent(), ignore_unknown_fields=True)
            fault.tile = named.tile
            self._events.fault(fault)

    async def _tick(self) -> None:
        while True:
            self._note_standstill()
            await asyncio.sleep(TICK)

    def _note_standstill(self) -> None:
        """Whoever comes first after a standstill of this process says that it has heard nobody for a while."""
        now = time.monotonic()
        if now - self._ticked > 3 * TICK:
            self._world.deaf(now)
        self._ticked = now

    async def _look(self, deaths: Deaths) -> None:
        if self._stale or time.monotonic() - self._scanned > SCAN:
            self._stale = False
            running = await asyncio.to_thread(self._tiles.running)
            self._scanned = time.monotonic()
            deaths.watch([process.pid for process in running.values()])
            self._world.processes(running, self._scanned)
        self._note_standstill()
        if not self.link.up.is_set():
            self._world.deaf(time.monotonic())

    # --- plan and act -------------------------------------------------------------------------------------------

    async def _reconcile(self, deaths: Deaths) -> None:
        while True:
            try:
                self._changed.clear()
                await self._look(deaths)
                now = time.monotonic()
                await self._do(next_action(self.spec, self.mesh, self._world.observed, self._world.failures, now))
            except (OrchestratorError, OSError) as error:
                self._events.add("failed", -1, str(error))
                await asyncio.sleep(RETRY)
            except Exception:
                # The mesh needs somebody who heals it more than it needs this one thing done.
                log.exception("the orchestrator goes on after what should not happen")
                self._stale = True
                await asyncio.sleep(RETRY)

    async def _do(self, action: Action) -> None:
        match action:
            case Write():
                self._write(action)
            case Start():
                await self._start(action)
            case Kill():
                await self._kill(action)
            case Wait():
                await self._wait(action)

    def _write(self, action: Write) -> None:
        before = self.mesh
        self._directory.write_mesh(action.mesh)
        self.mesh = action.mesh
        self._publish_mesh(before)
        self._events.add("changed", -1, action.why)

    async def _start(self, action: Start) -> None:
        entry = next(entry for entry in self.mesh.tiles if entry.tile == action.tile)
        known = self._world.observed.get(action.tile)
        incarnation = max(time.time_ns(), (known.incarnation if known else 0) + 1)
        try:
            pid = await asyncio.to_thread(self._tiles.start, self.mesh, action.tile, incarnation)
        except (OrchestratorError, OSError):
            self._world.failed(action.tile, time.monotonic())
            raise
        self._stale = True
        self._world.started(action.tile, Running(pid, incarnation), entry.role, time.monotonic())
        self._events.add("started", action.tile, action.why)

    async def _kill(self, action: Kill) -> None:
        self._world.killed(action.tile)
        self._events.add("fenced", action.tile, action.why)
        await asyncio.to_thread(self._tiles.kill, action.tile)
        self._stale = True

    async def _wait(self, action: Wait) -> None:
        await self._publish_status(action)
        now = time.monotonic()
        until = min(action.until if action.until is not None else now + SCAN, now + SCAN)
        try:
            async with asyncio.timeout(max(until - now, 0.01)):
                await self._changed.wait()
        except TimeoutError:
            pass

    # --- say ----------------------------------------------------------------------------------------------------

    def _topic(self, kind: str) -> str:
        return topics.orchestrator_topic(self.mesh.id, kind)

    def _noticed(self, kind: str, tile: int, text: str) -> None:
        self._events.add(kind, tile, text)

    def _publish_mesh(self, before: mesh_pb2.Mesh) -> None:
        text, now = _text(self.mesh), {entry.tile for entry in self.mesh.tiles}
        for tile in now:
            self.link.keep(topics.tile_topic(self.mesh.id, tile, "desired"), text)
        for tile in {entry.tile for entry in before.tiles} - now:
            self.link.keep(topics.tile_topic(self.mesh.id, tile, "desired"), "")

    def _publish_event(self, event: orchestrator_pb2.Event) -> None:
        log.info("%s: %s%s", event.kind, "" if event.tile < 0 else f"tile {event.tile}: ", event.text)
        self.link.say(self._topic("event"), _text(event))

    def _publish_reply(self, reply: orchestrator_pb2.Reply) -> None:
        self.link.say(self._topic(f"reply/{reply.id}"), _text(reply))

    async def _publish_status(self, action: Wait) -> None:
        settled = action.why == SETTLED
        status = orchestrator_pb2.OrchestratorStatus(
            pid=os.getpid(), spec=self.spec, epoch=self.mesh.epoch, settled=settled, doing=action.why
        )
        status.steps.extend([] if settled else await self._left())
        self.link.keep(self._topic("observed"), _text(status))

    async def _left(self) -> list[str]:
        """Return what is left to do, found once for each spec and mesh."""
        version = (self.spec.version, self.mesh.epoch)
        if self._steps[0] != version:
            try:
                found = await asyncio.to_thread(steps, self.spec, self.mesh, dict(self.observed))
            except OrchestratorError as error:
                found = [str(error)]
            except Exception:
                log.exception("the steps that are left cannot be foretold")
                found = []
            self._steps = (version, found)
        return self._steps[1]


def _text(message: Message) -> str:
    return json_format.MessageToJson(message, indent=None)
