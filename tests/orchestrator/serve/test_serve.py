"""The parts of the orchestrator's process, each by itself: deaths, events, requests, what is known of the tiles."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from google.protobuf import json_format

from dlibos_orchestrator.model.desired import desired_mesh
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.model.spec import spec_of
from dlibos_orchestrator.runtime.tiles import Running
from dlibos_orchestrator.serve.deaths import Deaths
from dlibos_orchestrator.serve.events import KEPT, Events
from dlibos_orchestrator.serve.requests import Requests
from dlibos_orchestrator.serve.world import World

OPTIONS = MeshOptions()
Request = orchestrator_pb2.Request


async def test_the_end_of_a_process_is_noticed_whoever_watches_it() -> None:
    ended = asyncio.Event()
    deaths = Deaths(ended.set)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    deaths.watch([process.pid])
    deaths.watch([process.pid])
    assert not ended.is_set()
    process.kill()
    await asyncio.wait_for(ended.wait(), 20)
    await process.wait()
    ended.clear()
    deaths.watch([process.pid])  # it has gone already
    await asyncio.wait_for(ended.wait(), 20)
    deaths.close()


def test_events_are_published_and_the_last_are_kept() -> None:
    said: list[orchestrator_pb2.Event] = []
    events = Events(said.append)
    for number in range(KEPT + 5):
        events.add("started", number, "why")
    assert len(said) == KEPT + 5
    assert [event.tile for event in events.last] == list(range(5, KEPT + 5))


def test_a_flood_of_one_fault_is_one_event() -> None:
    said: list[orchestrator_pb2.Event] = []
    events = Events(said.append)
    for _ in range(100):
        for source in (1, 2):
            events.fault(mesh_pb2.FaultEvent(tile=3, source=source, reason="stale_generation"))
    assert [event.text for event in said] == [f"refused a message of tile {n}: stale_generation" for n in (1, 2)]


class Desk:
    """What requests are about, in memory."""

    def __init__(self) -> None:
        self.mesh = desired_mesh(OPTIONS, mesh_pb2.NIC_KIND_USER, Path("/r/m"), "m-1")
        self.spec = spec_of(OPTIONS)
        self.observed: Mapping[int, Observed] = {}
        self.wanted: list[str] = []

    def thoughts(self, spec: orchestrator_pb2.Spec) -> list[str]:
        return [f"busy above {spec.autoscale.high:g} is too much"]

    def want(self, spec: orchestrator_pb2.Spec, why: str) -> None:
        self.spec = spec
        self.wanted.append(why)

    def events(self) -> list[orchestrator_pb2.Event]:
        return [orchestrator_pb2.Event(kind="started", tile=1)]


async def answers(desk: Desk, *payloads: Request | bytes) -> list[orchestrator_pb2.Reply]:
    """Return the replies to requests, of which the last gets one."""
    replies: asyncio.Queue[orchestrator_pb2.Reply] = asyncio.Queue()
    requests = Requests(desk, replies.put_nowait)
    running = asyncio.create_task(requests.run())
    for payload in payloads:
        requests.received(payload if isinstance(payload, bytes) else json_format.MessageToJson(payload).encode())
    last = Request(id="last", list_events=True)
    requests.received(json_format.MessageToJson(last).encode())
    found: list[orchestrator_pb2.Reply] = []
    while not found or found[-1].id != "last":
        found.append(await asyncio.wait_for(replies.get(), 20))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return found[:-1]


async def test_a_request_changes_the_spec_once_however_often_it_comes() -> None:
    desk = Desk()
    request = Request(id="a")
    request.scale.stack = 2
    one, other = await answers(desk, request, request)
    assert one == other
    assert (one.error, one.spec.stack, desk.spec.stack, len(desk.wanted)) == ("", 2, 2, 1)
    assert one.steps


async def test_a_dry_run_changes_nothing() -> None:
    desk = Desk()
    request = Request(id="a", dry_run=True)
    request.scale.stack = 2
    (reply,) = await answers(desk, request)
    assert (reply.spec.stack, desk.spec.stack, desk.wanted) == (2, 1, [])
    assert reply.steps


async def test_what_makes_no_sense_is_refused_or_ignored() -> None:
    desk = Desk()
    impossible = Request(id="b")
    impossible.scale.stack = 0
    replies = await answers(
        desk, b"{", b"\xff", Request(drain=1), Request(id="a/b", drain=1), Request(id="#", drain=1), impossible,
        Request(id="c"),
    )  # fmt: skip
    assert [reply.id for reply in replies] == ["b", "c"]
    assert all(reply.error for reply in replies)
    assert not desk.wanted


async def test_the_events_are_told() -> None:
    (reply,) = await answers(Desk(), Request(id="e", list_events=True))
    assert [event.kind for event in reply.events] == ["started"]


def test_an_end_that_nobody_asked_for_is_a_failure() -> None:
    said: list[tuple[str, int]] = []
    world = World(lambda kind, tile, _text: said.append((kind, tile)))
    world.started(1, Running(100, 7), mesh_pb2.ROLE_STACK, 1.0)
    world.status(
        mesh_pb2.TileStatus(tile=1, incarnation=7, sequence=1, pid=100, ready=True, role=mesh_pb2.ROLE_STACK), 2.0
    )
    world.processes({}, 3.0)
    assert world.failures[1].times == 1
    world.started(1, Running(101, 8), mesh_pb2.ROLE_STACK, 4.0)
    world.killed(1)
    world.processes({}, 5.0)
    assert world.failures[1].times == 1
    assert said == [("ready", 1), ("dead", 1)]


def test_a_late_or_repeated_word_changes_nothing() -> None:
    world = World(lambda _kind, _tile, _text: None)
    world.started(1, Running(100, 7), mesh_pb2.ROLE_STACK, 1.0)
    newest = mesh_pb2.TileStatus(
        tile=1, incarnation=7, sequence=5, pid=100, ready=True, role=mesh_pb2.ROLE_STACK, epoch=4
    )
    world.status(newest, 2.0)
    known = world.observed[1]
    for late in (
        mesh_pb2.TileStatus(tile=1, incarnation=7, sequence=4, pid=100, epoch=3),
        newest,
        mesh_pb2.TileStatus(tile=1, incarnation=6, sequence=9, pid=90, epoch=9),
        mesh_pb2.TileStatus(tile=1, incarnation=6, gone=True),
    ):
        world.status(late, 3.0)
        assert world.observed[1]._replace(heard=known.heard) == known
    world.load(mesh_pb2.TileLoad(tile=1, incarnation=6, busy=0.5), 4.0)
    assert world.observed[1].busy == 0
    world.deaf(9.0)
    assert world.observed[1].heard == 9.0
