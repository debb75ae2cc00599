"""Who gets a link where tiles prove who they are, over real gRPC: strangers, thieves, echoes and recordings do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from dlibos.noc.v1.noc_pb2 import Frame, Hello
from dlibos.noc.v1.noc_pb2_grpc import NocServicer, NocStub, add_NocServicer_to_server

from dlibos_node.identity import Context, Credentials
from dlibos_node.noc import handshake, message
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Refusal
from tests.support.ends import End, dial, ending, hello, join
from tests.support.keys import credentials

Call = grpc.aio.StreamStreamCall[Frame, Frame]
NONCE = bytes(range(32))
OTHER_MESH = bytes(32)


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[tuple[End, End]]:
    a, b = End(1, tmp_path, credentials(1, 2)), End(2, tmp_path, credentials(2, 1, 3))
    await a.network.serve(a.address)
    await b.network.serve(b.address)
    yield a, b
    await a.network.close()
    await b.network.close()


@pytest.fixture
def listener(ends: tuple[End, End]) -> End:
    """Tile 2, which waits for tile 1 to dial."""
    _, b = ends
    b.network.add(Peer(2, 1, capacity=256), "")
    return b


def post() -> Frame:
    return Frame(words=[message.header(2, 1, 1, 0, 1), 42])


@asynccontextmanager
async def call(end: End) -> AsyncIterator[Call]:
    async with grpc.aio.insecure_channel(end.address) as channel:
        yield NocStub(channel).Link()


async def challenged(stream: Call, nonce: bytes = NONCE) -> Frame:
    """Say hello as tile 1; return what tile 2 says to that."""
    await stream.write(hello(nonce=nonce))
    answer = await stream.read()
    assert isinstance(answer, Frame)
    return answer


async def prove(stream: Call, own: Credentials) -> Frame:
    """Prove to tile 2 that this is tile 1; return the proof."""
    answer = await challenged(stream)
    frame = Frame(proof=own.prove(Context.NOC, 2, answer.hello.nonce, NONCE))
    await stream.write(frame)
    return frame


def assert_refused(error: grpc.aio.AioRpcError, end: End, reason: Refusal = Refusal.PROOF) -> None:
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert str(error.details()).endswith(f"refuses this link: {reason.value}")
    assert end.queues.refused[reason] == 1
    assert end.received == []
    assert end.changes == []


async def test_two_tiles_that_prove_themselves_talk(ends: tuple[End, End]) -> None:
    a, b = ends
    at_a, at_b = await join(a, b)
    at_a.post(0, 1, 42)
    at_b.post(0, 1, 43)
    a.network.flush()
    b.network.flush()
    await b.until(lambda: b.received == [(1, 1, [42])])
    await a.until(lambda: a.received == [(2, 1, [43])])
    assert not a.queues.refused
    assert not b.queues.refused


@pytest.mark.parametrize("nonce", [b"", bytes(31), bytes(1000)])
async def test_a_hello_without_a_nonce_gets_no_proof(listener: End, nonce: bytes) -> None:
    assert_refused(await dial(listener, hello(nonce=nonce)), listener)


async def test_a_stolen_tile_number_is_not_enough(listener: End) -> None:
    async with call(listener) as stream:
        await prove(stream, credentials(1, 2, key=OTHER_MESH))
        assert_refused(await ending(stream), listener)


async def test_another_tile_s_own_keys_do_not_make_it_tile_1(listener: End) -> None:
    async with call(listener) as stream:
        answer = await challenged(stream)
        await stream.write(Frame(proof=credentials(3, 2).prove(Context.NOC, 2, answer.hello.nonce, NONCE)))
        assert_refused(await ending(stream), listener)


async def test_a_tile_without_a_key_for_the_peer_refuses_it(listener: End) -> None:
    listener.network.add(Peer(2, 4, capacity=256), "")
    assert_refused(await dial(listener, hello(source=4, nonce=NONCE)), listener)


async def test_a_proof_for_something_else_is_refused(listener: End) -> None:
    async with call(listener) as stream:
        answer = await challenged(stream)
        await stream.write(Frame(proof=credentials(1, 2).prove(Context.MEMORY, 2, answer.hello.nonce, NONCE)))
        assert_refused(await ending(stream), listener)


async def test_the_listener_s_proof_sent_back_to_it_is_refused(listener: End) -> None:
    async with call(listener) as stream:
        answer = await challenged(stream)
        await stream.write(Frame(proof=answer.proof))
        assert_refused(await ending(stream), listener)


async def test_a_recorded_session_does_not_open_another(listener: End) -> None:
    async with call(listener) as stream:
        proof = await prove(stream, credentials(1, 2))
        await listener.until(lambda: listener.changes == [True])
    await listener.until(lambda: listener.changes == [True, False])
    error = await dial(listener, hello(nonce=NONCE), proof)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert listener.changes == [True, False]
    assert listener.received == []


async def test_messages_before_the_proof_are_refused(listener: End) -> None:
    assert_refused(await dial(listener, hello(nonce=NONCE), post()), listener)


async def test_messages_beside_the_proof_are_refused(listener: End) -> None:
    async with call(listener) as stream:
        answer = await challenged(stream)
        proof = credentials(1, 2).prove(Context.NOC, 2, answer.hello.nonce, NONCE)
        await stream.write(Frame(proof=proof, words=post().words))
        assert_refused(await ending(stream), listener)


async def test_messages_beside_the_hello_are_refused(listener: End) -> None:
    error = await dial(listener, Frame(hello=hello(nonce=NONCE).hello, words=post().words))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert listener.received == []


async def test_an_unproved_second_connection_does_not_disturb_the_first(ends: tuple[End, End]) -> None:
    a, b = ends
    at_a, at_b = await join(a, b)
    async with call(b) as stream:
        await challenged(stream)
        assert at_b.up
        await stream.write(Frame(proof=bytes(32)))
        assert (await ending(stream)).code() is grpc.StatusCode.UNAUTHENTICATED
    at_a.post(0, 1, 42)
    a.network.flush()
    await b.until(lambda: b.received == [(1, 1, [42])])
    assert (a.changes, b.changes) == ([True], [True])


async def test_a_proved_second_connection_takes_the_first_one_s_place(ends: tuple[End, End]) -> None:
    a, b = ends
    await join(a, b)
    async with call(b) as stream:
        await prove(stream, credentials(1, 2))
        await stream.write(post())
        await b.until(lambda: b.received == [(1, 1, [42])])


async def test_a_flood_of_strangers_is_bounded_and_does_not_keep_a_tile_out(ends: tuple[End, End]) -> None:
    a, b = ends
    b.network.admission.most = 4
    b.network.add(Peer(2, 1, capacity=256), "")
    async with grpc.aio.insecure_channel(b.address) as channel:
        streams = []
        for _ in range(20):
            streams.append(NocStub(channel).Link())
            await challenged(streams[-1])
        early = await asyncio.gather(*map(ending, streams[:16]))
        assert {error.code() for error in early} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert b.queues.refused[Refusal.CROWDED] == 16
        at_a, _ = await join(a, b)
        assert at_a.up
        for stream in streams[16:]:
            stream.cancel()


async def test_a_caller_that_never_proves_itself_is_dropped_in_time(listener: End) -> None:
    listener.network.admission.patience = 0.01
    error = await dial(listener, hello(nonce=NONCE))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert listener.queues.refused[Refusal.SLOW] == 1


class Impostor(NocServicer):
    """Sits at a tile's address and answers every hello with the frame it was given, or not at all."""

    def __init__(self, answer: Frame | None) -> None:
        self.answer = answer
        self.heard: list[Frame] = []
        self.left = asyncio.Event()

    async def Link(  # type: ignore[override]  # noqa: N802
        self, request_iterator: object, context: grpc.aio.ServicerContext[Frame, Frame]
    ) -> None:
        del request_iterator
        try:
            if self.answer is not None:
                await context.write(self.answer)
            while isinstance(frame := await context.read(), Frame):
                self.heard.append(frame)
        finally:
            self.left.set()


@asynccontextmanager
async def impostor_for(address: str, answer: Frame | None) -> AsyncIterator[Impostor]:
    server, impostor = grpc.aio.server(), Impostor(answer)
    add_NocServicer_to_server(impostor, server)
    server.add_insecure_port(address)
    await server.start()
    yield impostor
    await server.stop(0)


def answering(**changes: object) -> Hello:
    return hello(**{"source": 2, "destination": 1, "nonce": NONCE, **changes}).hello


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Frame(hello=answering(nonce=b"")), Refusal.PROOF),
        (Frame(hello=answering(), proof=bytes(32)), Refusal.PROOF),
        (Frame(hello=answering(source=3)), Refusal.TILE),
        (Frame(words=[1]), Refusal.HELLO),
        (None, Refusal.SLOW),
    ],
)
async def test_an_impostor_at_the_address_is_told_nothing(
    tmp_path: Path, answer: Frame | None, reason: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "PATIENCE", 0.2)
    a = End(1, tmp_path, credentials(1, 2))
    a.network.add(Peer(1, 3, capacity=256), f"unix:{tmp_path}/nobody.sock")
    peer = Peer(1, 2, capacity=256)
    async with impostor_for(f"unix:{tmp_path}/2.sock", answer) as impostor:
        a.network.add(peer, f"unix:{tmp_path}/2.sock")
        await impostor.left.wait()
        assert a.queues.refused[reason] >= 1
        assert not peer.up
        assert a.changes == []
        assert all(not frame.words and not frame.proof for frame in impostor.heard)
    await a.network.close()
