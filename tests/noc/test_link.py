"""Links over real gRPC on unix sockets: order, back-pressure, refusals, reconnection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from dlibos.noc.v1.noc_pb2 import Frame, Hello
from dlibos.noc.v1.noc_pb2_grpc import NocStub

from dlibos_node.errors import ConfigurationError
from dlibos_node.noc import link, message
from dlibos_node.noc.link import Network
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues, Refusal
from tests.support.ends import End, dial, hello, join


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[tuple[End, End]]:
    a, b = End(1, tmp_path), End(2, tmp_path)
    await a.network.serve(a.address)
    await b.network.serve(b.address)
    yield a, b
    await a.network.close()
    await b.network.close()


async def test_messages_cross_both_ways_in_order(ends: tuple[End, End]) -> None:
    a, b = ends
    at_a, at_b = await join(a, b)
    for number in range(500):
        at_a.post(1, 5, number)
        at_b.post(2, 6, number, number)
    a.network.flush()
    b.network.flush()
    await b.until(lambda: len(b.received) == 500)
    await a.until(lambda: len(a.received) == 500)
    assert b.received == [(1, 5, [n]) for n in range(500)]
    assert a.received == [(2, 6, [n, n]) for n in range(500)]
    assert at_b.statistics.frames_in < 500  # what waited went out together


async def test_a_receiver_that_does_not_take_stops_its_sender_at_the_queue_s_capacity(ends: tuple[End, End]) -> None:
    a, b = ends
    b.draining = False
    at_a, _ = await join(a, b, capacity=256)
    for number in range(1000):
        at_a.post(0, 1, number)
    a.network.flush()
    await b.until(lambda: b.queues.depth(0) == 128)
    assert at_a.credits[0] == 0
    assert len(at_a.waiting[0]) == 2000 - 256
    b.draining = True
    b.take()
    await b.until(lambda: len(b.received) == 1000)
    assert [payload[0] for _, _, payload in b.received] == list(range(1000))


async def test_a_link_that_breaks_is_dialled_again(ends: tuple[End, End], tmp_path: Path) -> None:
    a, b = ends
    at_a, _ = await join(a, b)
    await b.network.close()
    await a.until(lambda: not at_a.up)
    reborn = End(2, tmp_path)
    await reborn.network.serve(reborn.address)
    peer = reborn.know(a)
    await reborn.until(lambda: peer.up)
    await a.until(lambda: at_a.up)
    at_a.post(0, 1, 42)
    a.network.flush()
    await reborn.until(lambda: bool(reborn.received))
    assert reborn.received == [(1, 1, [42])]
    await reborn.network.close()


async def test_a_link_whose_place_another_took_ends_and_comes_again(ends: tuple[End, End]) -> None:
    a, b = ends
    at_a, at_b = await join(a, b)
    await dial_and_leave(b)
    await b.until(lambda: b.changes[-1] and len(b.changes) > 2)
    await a.until(lambda: a.changes[:3] == [True, False, True] and at_a.up)
    at_a.post(0, 1, 42)
    at_b.post(0, 1, 43)
    a.network.flush()
    b.network.flush()
    await b.until(lambda: b.received == [(1, 1, [42])])
    await a.until(lambda: a.received == [(2, 1, [43])])


async def dial_and_leave(b: End) -> None:
    """Link to a tile once more under the number of its peer, and end that link."""
    async with grpc.aio.insecure_channel(b.address) as channel:
        call = NocStub(channel).Link()
        await call.write(hello(credits=[8192] * 4))
        assert isinstance(await call.read(), Frame)
        await b.until(lambda: len(b.changes) > 1)
        call.cancel()


def bad(length: int = 0, queue: int = 0, source: int = 1, extra: int = 0) -> Frame:
    return Frame(words=[message.header(2, source, 1, queue, length), *range(length + extra)])


@pytest.mark.parametrize(
    ("frames", "status", "reason"),
    [
        ([hello(mesh_id="other")], grpc.StatusCode.FAILED_PRECONDITION, Refusal.MESH),
        ([hello(version=99)], grpc.StatusCode.FAILED_PRECONDITION, Refusal.VERSION),
        ([hello(source=77)], grpc.StatusCode.NOT_FOUND, Refusal.TILE),
        ([hello(destination=3)], grpc.StatusCode.NOT_FOUND, Refusal.TILE),
        ([hello(credits=[1])], grpc.StatusCode.INVALID_ARGUMENT, Refusal.HELLO),
        ([Frame(words=[1])], grpc.StatusCode.INVALID_ARGUMENT, Refusal.HELLO),
        ([hello(), bad(length=127)], grpc.StatusCode.INVALID_ARGUMENT, Refusal.LENGTH),
        ([hello(), bad(queue=4)], grpc.StatusCode.INVALID_ARGUMENT, Refusal.QUEUE),
        ([hello(), bad(source=5)], grpc.StatusCode.PERMISSION_DENIED, Refusal.ROUTE),
    ],
)
async def test_who_breaks_the_rules_is_refused_with_a_clear_status_and_counted(
    ends: tuple[End, End], frames: list[Frame], status: grpc.StatusCode, reason: Refusal
) -> None:
    a, b = ends
    b.network.add(Peer(2, 1, capacity=256), a.address)
    error = await dial(b, *frames)
    assert error.code() is status
    assert reason.value in str(error.details())
    assert b.queues.refused[reason] == 1
    assert b.received == []


async def test_a_flood_beyond_the_credits_is_refused(ends: tuple[End, End]) -> None:
    a, b = ends
    b.draining = False
    b.network.add(Peer(2, 1, capacity=256), a.address)
    error = await dial(b, hello(), *[bad(length=126)] * 3)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_address_that_cannot_be_listened_at_is_a_clear_error(tmp_path: Path) -> None:
    end = End(1, tmp_path)
    with pytest.raises(ConfigurationError, match="cannot listen at unix:"):
        await end.network.serve(f"unix:{tmp_path}/no/such/directory/1.sock")


async def test_a_link_whose_memory_does_not_come_is_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PREPARE_TIMEOUT", 0.01)
    queues, never = Queues(), asyncio.Event()

    async def prepare(tile: int) -> None:
        assert tile == 2
        await never.wait()

    async def unused(*_: object) -> None:
        raise AssertionError("nothing is read or written before the memory is there")

    network = Network("m", 1, queues, lambda: None, lambda _peer: None, prepare=prepare)
    peer = Peer(1, 2, capacity=1000)
    assert await network.converse(peer, Hello(credits=[1000] * 4), unused, unused) is Refusal.MEMORY
    assert not peer.up
    assert queues.refused == {Refusal.MEMORY: 1}
