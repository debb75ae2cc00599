"""Links over gRPC: one bidirectional stream per pair of tiles; the only module that knows gRPC.

The tile with the lower number dials, so that two tiles never hold two streams. Each direction opens with a hello
(`handshake`); then whatever waits for the peer when the previous write has completed goes out as one frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import grpc
from dlibos.noc.v1.noc_pb2 import Frame, Hello
from dlibos.noc.v1.noc_pb2_grpc import NocServicer, NocStub, add_NocServicer_to_server

from dlibos_node.admission import Admission
from dlibos_node.errors import ConfigurationError
from dlibos_node.identity import Credentials
from dlibos_node.noc.handshake import Handshake, Read, Write
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues, Refusal

log = logging.getLogger(__name__)

RETRY_FIRST: Final = 0.02  # seconds
RETRY_LAST: Final = 0.1  # seconds: a tile that comes back is met at once, however long it was away
PREPARE_TIMEOUT: Final = 5.0  # seconds

STATUS: Final = {
    Refusal.MESH: grpc.StatusCode.FAILED_PRECONDITION,
    Refusal.VERSION: grpc.StatusCode.FAILED_PRECONDITION,
    Refusal.TILE: grpc.StatusCode.NOT_FOUND,
    Refusal.ROUTE: grpc.StatusCode.PERMISSION_DENIED,
    Refusal.CREDIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Refusal.CROWDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Refusal.PROOF: grpc.StatusCode.UNAUTHENTICATED,
    Refusal.SLOW: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # all others: INVALID_ARGUMENT

OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),  # its pings cost a frame each; a unix socket has no delay to fill
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 50),
    ("grpc.max_connection_idle_ms", 10_000),  # a connection that carries no link
)


class Network:
    """All links of one tile.

    `deliver` is called after each frame whose messages were put into `queues`; `changed` when a link came up or went.
    With `credentials` no link comes up before its peer has proved who it is.
    """

    def __init__(
        self,
        mesh: str,
        tile: int,
        queues: Queues,
        deliver: Callable[[], None],
        changed: Callable[[Peer], None],
        credentials: Credentials | None = None,
        prepare: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self.mesh = mesh
        self.tile = tile
        self.queues = queues
        self.peers: dict[int, Peer] = {}
        self.handshake = Handshake(mesh, tile, self.peers, credentials)
        self.admission = Admission()
        self._deliver = deliver
        self._changed = changed
        self._prepare = prepare
        self._sessions: dict[int, _Session] = {}
        self._server: grpc.aio.Server | None = None
        self._dials: dict[int, asyncio.Task[None]] = {}

    async def serve(self, address: str) -> None:
        """Listen for tiles with lower numbers at `address` ("unix:/path" or "host:port")."""
        server = grpc.aio.server(options=OPTIONS)
        add_NocServicer_to_server(_Servicer(self), server)
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigurationError(f"tile {self.tile}: cannot listen at {address}: is another tile there?") from error
        await server.start()
        self._server = server

    def add(self, peer: Peer, address: str) -> None:
        """Make a tile known; dial it if it is this side's turn to dial, else wait for its call."""
        self.peers[peer.number] = peer
        if self.tile < peer.number:
            self._dials[peer.number] = asyncio.create_task(self._dial(peer, address), name=f"dial {peer.number}")

    def remove(self, peer: Peer) -> None:
        """Forget a tile: its link ends, and a new one is not taken."""
        del self.peers[peer.number]
        dialling = self._dials.pop(peer.number, None)
        if dialling is not None:
            dialling.cancel()
        session = self._sessions.pop(peer.number, None)
        if session is not None:
            session.end()
            peer.lost()
            self._changed(peer)

    def flush(self) -> None:
        """Let everything that waits go out, one frame a peer."""
        for session in self._sessions.values():
            session.wake()

    def flush_to(self, number: int) -> None:
        """Let what waits for one peer go out."""
        session = self._sessions.get(number)
        if session is not None:
            session.wake()

    async def close(self) -> None:
        """Close all links and stop listening."""
        for task in self._dials.values():
            task.cancel()
        await asyncio.gather(*self._dials.values(), return_exceptions=True)
        if self._server is not None:
            await self._server.stop(0)

    def refused(self, reason: Refusal) -> None:
        """Count a link that was refused. Only the first of a kind is a warning: strangers do not fill the log."""
        level = logging.DEBUG if self.queues.refused[reason] else logging.WARNING
        self.queues.refused[reason] += 1
        log.log(level, "a link was refused: %s", reason.value)

    async def converse(self, peer: Peer, hello: Hello, read: Read, write: Write) -> Refusal | None:
        """Run a link until it ends; return why it was refused, if it was."""
        if self._prepare is not None:
            try:
                await asyncio.wait_for(self._prepare(peer.number), PREPARE_TIMEOUT)
            except TimeoutError:
                self.refused(Refusal.MEMORY)
                return Refusal.MEMORY
        before = self._sessions.get(peer.number)
        if before is not None:
            before.end()
        peer.connected(list(hello.credits))
        session = self._sessions[peer.number] = _Session(peer, write)
        self._changed(peer)
        try:
            reason = await session.receive(self._receive(peer, session, read))
            if reason is not None:
                log.warning("tile %d broke the link's rules: %s; link closed", peer.number, reason.value)
            return reason
        finally:
            session.end()
            if self._sessions.get(peer.number) is session:
                del self._sessions[peer.number]
                peer.lost()
                self._changed(peer)

    async def _receive(self, peer: Peer, session: _Session, read: Read) -> Refusal | None:
        accept, deliver = self.queues.accept, self._deliver
        while isinstance(frame := await read(), Frame) and session.alive:
            if frame.credits:
                if len(frame.credits) != len(peer.credits):
                    return Refusal.HELLO
                peer.grant(list(frame.credits))
                if peer.stalled:
                    session.wake()
            if frame.words:
                reason = accept(peer, frame.words[:])
                if reason is not None:
                    return reason
                deliver()
                if peer.in_debt:
                    session.wake()
        return None

    async def _dial(self, peer: Peer, address: str) -> None:
        delay = RETRY_FIRST
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            stub = NocStub(channel)
            while True:
                if await self._call(stub, peer):
                    delay = RETRY_FIRST
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_LAST)

    async def _call(self, stub: NocStub, peer: Peer) -> bool:
        """Run a link from this side; return whether it was up."""
        call = stub.Link(wait_for_ready=True)
        try:
            hello = await self.handshake.dial(peer, call.read, call.write)
            if isinstance(hello, Refusal):
                self.refused(hello)
                return False
            await self.converse(peer, hello, call.read, call.write)
        except grpc.aio.AioRpcError as error:
            log.info("link to tile %d: %s: %s", peer.number, error.code().name, error.details())
            return False
        finally:
            call.cancel()
        return True


class _Session:
    """One link while it is up: the task that writes, and the one that reads."""

    __slots__ = ("_event", "_peer", "_reading", "_task", "_write", "alive")

    def __init__(self, peer: Peer, write: Write) -> None:
        self._peer = peer
        self._write = write
        self._event = asyncio.Event()
        self.alive = True
        self._task = asyncio.create_task(self._run(), name=f"writer {peer.number}")
        self._reading: asyncio.Task[Refusal | None] | None = None

    async def receive(self, reading: Coroutine[Any, Any, Refusal | None]) -> Refusal | None:
        """Read until the link ends or another takes its place: what came by it then would be lost without a word."""
        self._reading = asyncio.create_task(reading)
        try:
            return await self._reading
        except asyncio.CancelledError:
            if self.alive:
                raise
            return None

    def wake(self) -> None:
        self._event.set()

    def end(self) -> None:
        self.alive = False
        self._task.cancel()
        if self._reading is not None:
            self._reading.cancel()

    async def _run(self) -> None:
        peer, event, statistics = self._peer, self._event, self._peer.statistics
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            while True:
                words = peer.take()
                owed = peer.take_owed(anyway=bool(words))
                if words or owed:
                    statistics.frames_out += 1
                    await self._write(Frame(words=words, credits=owed))
                else:
                    event.clear()
                    await event.wait()


class _Servicer(NocServicer):
    """Answers tiles that dial this one."""

    def __init__(self, network: Network) -> None:
        self._network = network

    # The contract's name, and gRPC's reader/writer style of handler, which the generated stub does not describe.
    async def Link(  # type: ignore[override]  # noqa: N802
        self, request_iterator: object, context: grpc.aio.ServicerContext[Frame, Frame]
    ) -> None:
        network = self._network
        answering: Coroutine[Any, Any, tuple[Peer, Hello] | Refusal]
        answering = network.handshake.answer(context.read, context.write)
        met = await network.admission.run(answering, Refusal.SLOW, Refusal.CROWDED)
        if isinstance(met, Refusal):
            network.refused(met)
            await self._abort(context, met)
            return
        reason = await network.converse(*met, context.read, context.write)
        if reason is not None:
            await self._abort(context, reason)

    async def _abort(self, context: grpc.aio.ServicerContext[Frame, Frame], reason: Refusal) -> None:
        detail = f"tile {self._network.tile} of mesh {self._network.mesh!r} refuses this link: {reason.value}"
        await context.abort(STATUS.get(reason, grpc.StatusCode.INVALID_ARGUMENT), detail)
