"""How two tiles come to know each other on a fresh stream: hellos, and proofs where the tile has credentials.

    dialer ── hello, nonce ────────────► listener
    dialer ◄──── hello, nonce, proof ─── listener      the dialer's side is up once it has sent its own proof
    dialer ── proof ───────────────────► listener      and the listener's now

Without credentials the first two frames are all. No frame of a handshake carries messages: they would be nobody's.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from dlibos.noc.v1.noc_pb2 import Frame, Hello

from dlibos_node.admission import PATIENCE
from dlibos_node.identity import NONCE, Context, Credentials
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Refusal

VERSION: Final = 1

Read = Callable[[], Awaitable[object]]
Write = Callable[[Frame], Awaitable[None]]


class Handshake:
    """The handshakes of one tile, with whichever of `peers` is at the other end."""

    def __init__(self, mesh: str, tile: int, peers: Mapping[int, Peer], credentials: Credentials | None) -> None:
        self._mesh = mesh
        self._tile = tile
        self._peers = peers
        self._credentials = credentials

    async def dial(self, peer: Peer, read: Read, write: Write) -> Hello | Refusal:
        """Return the hello of `peer`, which was dialled, or why it is not welcome."""
        nonce = self._nonce()
        await write(self._hello(peer, nonce))
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await read()
        except TimeoutError:
            return Refusal.SLOW
        met = self._examine(answer)
        if isinstance(met, Refusal):
            return met
        found, frame = met
        if found is not peer:
            return Refusal.TILE
        if self._credentials is not None:
            if not self._credentials.verify(Context.NOC, peer.number, nonce, frame.hello.nonce, frame.proof):
                return Refusal.PROOF
            await write(Frame(proof=self._credentials.prove(Context.NOC, peer.number, frame.hello.nonce, nonce)))
        return frame.hello

    async def answer(self, read: Read, write: Write) -> tuple[Peer, Hello] | Refusal:
        """Return who dialled and its hello, or why it is not welcome. The caller bounds the time."""
        met = self._examine(await read())
        if isinstance(met, Refusal):
            return met
        peer, first = met
        if self._credentials is None:
            await write(self._hello(peer, b""))
        elif not await self._challenge(peer, first.hello.nonce, self._credentials, read, write):
            return Refusal.PROOF
        return peer, first.hello

    async def _challenge(self, peer: Peer, theirs: bytes, credentials: Credentials, read: Read, write: Write) -> bool:
        nonce = self._nonce()
        proof = credentials.prove(Context.NOC, peer.number, theirs, nonce)
        if not proof:
            return False
        hello = self._hello(peer, nonce)
        hello.proof = proof
        await write(hello)
        second = await read()
        if not isinstance(second, Frame) or second.words:
            return False
        return credentials.verify(Context.NOC, peer.number, nonce, theirs, second.proof)

    def _nonce(self) -> bytes:
        return b"" if self._credentials is None else secrets.token_bytes(NONCE)

    def _hello(self, peer: Peer, nonce: bytes) -> Frame:
        hello = Hello(version=VERSION, mesh_id=self._mesh, source=self._tile, destination=peer.number, nonce=nonce)
        hello.credits.extend([peer.capacity] * len(peer.credits))
        return Frame(hello=hello)

    def _examine(self, frame: object) -> tuple[Peer, Frame] | Refusal:
        """Return who says hello, and all it says; or why it is not welcome."""
        if not isinstance(frame, Frame) or not frame.HasField("hello") or frame.words:
            return Refusal.HELLO
        hello = frame.hello
        peer = self._peers.get(hello.source)
        if hello.version != VERSION:
            return Refusal.VERSION
        if hello.mesh_id != self._mesh:
            return Refusal.MESH
        if peer is None or hello.destination != self._tile:
            return Refusal.TILE
        return (peer, frame) if len(hello.credits) == len(peer.credits) else Refusal.HELLO
