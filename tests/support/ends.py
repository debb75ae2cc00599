"""Tiles that are a network and nothing else, over real gRPC on unix sockets; and strangers who dial them by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
from dlibos.noc.v1.noc_pb2 import Frame, Hello
from dlibos.noc.v1.noc_pb2_grpc import NocStub

from dlibos_node.identity import Credentials
from dlibos_node.noc.handshake import VERSION
from dlibos_node.noc.link import Network
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues

MESH = "test-mesh"


class End:
    """One tile with a network and nothing else; drains its queues unless told to stop."""

    def __init__(self, number: int, directory: Path, credentials: Credentials | None = None) -> None:
        self.number = number
        self.address = f"unix:{directory}/{number}.sock"
        self.queues = Queues()
        self.network = Network(MESH, number, self.queues, self._deliver, self._changed, credentials)
        self.received: list[tuple[int, int, list[int]]] = []
        self.changes: list[bool] = []
        self.draining = True
        self.something = asyncio.Event()

    def _deliver(self) -> None:
        if self.draining:
            self.take()
        self.something.set()

    def take(self) -> None:
        for queue in range(4):
            self.received += self.queues.drain(queue)
        self.network.flush()

    def _changed(self, peer: Peer) -> None:
        self.changes.append(peer.up)
        self.something.set()

    def know(self, other: End, capacity: int = 8192) -> Peer:
        peer = Peer(self.number, other.number, capacity=capacity)
        self.network.add(peer, other.address)
        return peer

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.something.clear()
            await self.something.wait()


async def join(a: End, b: End, capacity: int = 8192) -> tuple[Peer, Peer]:
    at_a, at_b = a.know(b, capacity), b.know(a, capacity)
    await a.until(lambda: at_a.up)
    await b.until(lambda: at_b.up)
    return at_a, at_b


def hello(**changes: object) -> Frame:
    """Return the hello of tile 1 to tile 2, but for the changes."""
    fields: dict[str, object] = {
        "version": VERSION,
        "mesh_id": MESH,
        "source": 1,
        "destination": 2,
        "credits": [256] * 4,
    }
    return Frame(hello=Hello(**{**fields, **changes}))  # type: ignore[arg-type]  # wrong values are the point


async def dial(b: End, *frames: Frame) -> grpc.aio.AioRpcError:
    """Say `frames` to a tile as a stranger would; return how the call ended."""
    async with grpc.aio.insecure_channel(b.address) as channel:
        call = NocStub(channel).Link()
        for frame in frames:
            await call.write(frame)
        return await ending(call)


async def ending(call: grpc.aio.StreamStreamCall[Frame, Frame]) -> grpc.aio.AioRpcError:
    """Read a call to its end; return how it ended."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
        await call.code()
    except grpc.aio.AioRpcError as error:
        return error
    code, details = await call.code(), await call.details()
    return grpc.aio.AioRpcError(code, call.initial_metadata(), call.trailing_metadata(), details)  # type: ignore[arg-type]
