"""What the commands ask of a mesh that runs: a request to its orchestrator, and watching until it has come true.

Blocking calls over the asynchronous bus: a command does one thing at a time.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from google.protobuf import json_format

from dlibos_orchestrator.bus import client, topics
from dlibos_orchestrator.bus.client import Address
from dlibos_orchestrator.errors import MeshStateError, UsageError
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.processes import scan

PATIENCE: Final = 10.0  # seconds for a reply; a busy machine needs some tenths
LOAD_EVERY: Final = 1.0  # seconds between two words of a tile on its load
POLL: Final = 0.01  # seconds

Notice = Callable[[str], None]


class LoadRow(NamedTuple):
    """What a tile had to do lately."""

    busy: float
    connections: int
    frames_per_second: float


Loads = Mapping[int, LoadRow]
"""By tile."""


def address_of(directory: MeshDirectory) -> Address:
    """Return where the bus of a mesh is. MeshStateError for one that has none."""
    mesh = directory.read_mesh()
    return Address(directory.path / topics.SOCKET, mesh.id, topics.OPERATOR, directory.read_key())


def ask(directory: MeshDirectory, request: orchestrator_pb2.Request) -> orchestrator_pb2.Reply:
    """Return the orchestrator's reply. UsageError with its reason when it refuses, MeshStateError when it is silent."""
    reply = asyncio.run(client.ask(address_of(directory), request, PATIENCE))
    if reply.error:
        raise UsageError(reply.error)
    return reply


def scale(directory: MeshDirectory, counts: Mapping[str, int], timeout: float) -> None:
    """Have tiles by role, and return when the mesh is like that. StartError, MeshStateError."""
    wanted = orchestrator_pb2.Scale()
    for role, count in counts.items():
        if role == "app":
            wanted.app[""] = count
        else:
            setattr(wanted, role, count)
    reply = ask(directory, orchestrator_pb2.Request(scale=wanted))
    wait_settled(directory, reply.spec.version, timeout, lambda line: None)


def wait_settled(directory: MeshDirectory, version: int, timeout: float, notice: Notice) -> None:
    """Return when the mesh is as version `version` of the spec, or a later one, wants it; tell what is being done."""
    mesh_id, doing = directory.read_mesh().id, ""
    with _listening(directory, [topics.orchestrator_topic(mesh_id, "observed")]) as messages:
        deadline = time.monotonic() + timeout
        for _, payload in messages.until(deadline):
            status = json_format.Parse(payload, orchestrator_pb2.OrchestratorStatus())
            if status.settled and status.spec.version >= version:
                return
            if status.doing != doing and not status.settled:
                doing = status.doing
                notice(doing)
    raise MeshStateError(f"not done after {timeout:g} s ({doing or 'no word'}); it goes on: see `dlibos events`")


def wait_replaced(directory: MeshDirectory, tile: int, pid: int, timeout: float) -> None:
    """Return when another process than `pid` is that tile, and ready."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = directory.read_status(tile)
        if status is not None and status.ready and status.pid != pid:
            return
        time.sleep(POLL)
    words = "runs" if any(process.tile == tile for process in scan(directory.path)) else "does not run"
    raise MeshStateError(f"tile {tile} was not replaced within {timeout:g} s (it {words}); see `dlibos events`")


def follow_events(directory: MeshDirectory) -> Iterator[orchestrator_pb2.Event]:
    """Yield what happens from now on, without end."""
    with _listening(directory, [topics.orchestrator_topic(directory.read_mesh().id, "event")]) as messages:
        for _, payload in messages.until(None):
            yield json_format.Parse(payload, orchestrator_pb2.Event())


def watch_loads(directory: MeshDirectory, seconds: float) -> Iterator[Loads]:
    """Yield every `seconds` what the tiles had to do in that time, without end."""
    mesh_id = directory.read_mesh().id
    with _listening(directory, [topics.tile_topic(mesh_id, "+", "load")]) as messages:
        before: dict[int, mesh_pb2.TileLoad] = {}
        while True:
            said: dict[int, mesh_pb2.TileLoad] = {}
            for _, payload in messages.until(time.monotonic() + seconds):
                load = json_format.Parse(payload, mesh_pb2.TileLoad())
                before.setdefault(load.tile, load)
                said[load.tile] = load
            yield {tile: _row(before[tile], load) for tile, load in said.items()}
            before = said


def _row(before: mesh_pb2.TileLoad, load: mesh_pb2.TileLoad) -> LoadRow:
    span = load.time - before.time
    frames = load.frames - before.frames if load.incarnation == before.incarnation else load.frames
    return LoadRow(load.busy, load.connections, frames / span if span > 0 else 0.0)


# --- listening: the bus in a thread of its own, its messages in a queue ----------------------------------------------


class Messages:
    """What has arrived: pairs of topic and payload."""

    def __init__(self) -> None:
        self.arrived: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

    def until(self, deadline: float | None) -> Iterator[tuple[str, bytes]]:
        """Yield messages until `deadline` (monotonic seconds), or for ever."""
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            try:
                yield self.arrived.get(timeout=left)
            except queue.Empty:
                return


@contextmanager
def _listening(directory: MeshDirectory, filters: Sequence[str]) -> Iterator[Messages]:
    messages, loop = Messages(), asyncio.new_event_loop()
    link = client.Link(address_of(directory), filters, lambda topic, payload: messages.arrived.put((topic, payload)))
    task = loop.create_task(link.run())
    thread = threading.Thread(target=_run, args=(loop, task), daemon=True)
    thread.start()
    try:
        yield messages
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
