"""Attacks that dial a tile's NoC address: frames of one's own making, and what the tile says to them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final

import grpc
from dlibos.control.v1 import mesh_pb2
from dlibos.noc.v1.noc_pb2 import Frame, Hello
from dlibos.noc.v1.noc_pb2_grpc import NocStub

from dlibos_node.attack.answer import OK, Answer, Order, Step
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.errors import ConfigurationError
from dlibos_node.identity import NONCE, Context, Credentials
from dlibos_node.noc.handshake import VERSION

PATIENCE: Final = 3.0  # seconds for each answer
STAY: Final = 0.2  # seconds that a link which is up is kept, so that it has taken the place of another
Attack = Callable[[CompromisedTile, Order], Coroutine[Any, Any, Answer]]


def hello(mesh: str, source: int, destination: int, nonce: bytes, capacity: int = 8192) -> Frame:
    """Return the first frame of a dialer."""
    words = Hello(version=VERSION, mesh_id=mesh, source=source, destination=destination, nonce=nonce)
    words.credits.extend([capacity] * 4)
    return Frame(hello=words)


class Caller:
    """Dials as tile `claim`; `credentials` are what proofs are made with, None makes none that is worth anything."""

    def __init__(self, mesh: mesh_pb2.Mesh, claim: int, credentials: Credentials | None) -> None:
        self._mesh = mesh
        self._claim = claim
        self._credentials = credentials
        self.said: list[bytes] = []  # the frames that were sent

    async def join(self, victim: mesh_pb2.Tile, mesh_id: str = "") -> Answer:
        """Try to become the tile's peer."""
        nonce = secrets.token_bytes(NONCE)
        first = hello(mesh_id or self._mesh.id, self._claim, victim.tile, nonce)

        def second(answer: Frame) -> Frame:
            made = b""
            if self._credentials is not None:
                made = self._credentials.prove(Context.NOC, victim.tile, answer.hello.nonce, nonce)
            return Frame(proof=made or bytes(32))

        return await converse(victim.address, first, second, self.said)


async def converse(
    address: str, first: Frame, second: Callable[[Frame], Frame], said: list[bytes] | None = None
) -> Answer:
    """Say hello and what comes after it; the link is up when the tile does not end it."""
    said = [] if said is None else said
    async with grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        call = NocStub(channel).Link()
        try:
            await _say(call, first, said)
            answer = await _hear(call)
            if not isinstance(answer, Frame):
                return Answer((Step("dial", "waited"),), False, "the tile says nothing")
            if answer.proof:
                await _say(call, second(answer), said)
            await _hear(call, STAY)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            # OK is how a link ends whose place the honest tile has taken again.
            if (code := await call.code()) is not grpc.StatusCode.OK:
                return Answer((Step("dial", code.name),), False, await call.details())
        finally:
            call.cancel()
    return Answer((Step("dial", OK),), True, "the link was up")


async def _say(call: Any, frame: Frame, said: list[bytes]) -> None:
    said.append(frame.SerializeToString())
    await call.write(frame)


async def _hear(call: Any, patience: float = PATIENCE) -> object:
    """Return the next frame, None when there is none in time. AioRpcError when the tile ended the call."""
    try:
        answer = await asyncio.wait_for(asyncio.shield(reading := asyncio.ensure_future(call.read())), patience)
    except TimeoutError:
        reading.cancel()
        return None
    if answer is grpc.aio.EOF:
        raise grpc.aio.UsageError("the tile ended the call")
    return answer


# --- by compromised tiles ---------------------------------------------------------------------------------------

TARGETS: Final = {"app": "stack", "stack": "app", "driver": "stack"}
"""Whom a tile of a role dials as another tile of that role."""


def join(role: str, *, own_key: bool) -> Attack:
    """Dial under the number of the honest tile of one's own role."""

    async def perform(tile: CompromisedTile, order: Order) -> Answer:
        del order
        claim = tile.victim(role).tile
        return await Caller(tile.mesh, claim, tile.credentials if own_key else None).join(tile.victim(TARGETS[role]))

    return perform


async def stranger(tile: CompromisedTile, order: Order) -> Answer:
    """Dial a driver tile, with which an application tile has no business."""
    del order
    return await Caller(tile.mesh, tile.tile.tile, tile.credentials).join(tile.victim("driver"))


async def record(tile: CompromisedTile, order: Order) -> Answer:
    """Join as oneself and give away what was said: the recording that `replay` and the outsider use."""
    del order
    victim = tile.victim(TARGETS["app"])
    caller = Caller(tile.mesh, tile.tile.tile, tile.credentials)
    before = tile.losses[victim.tile]
    answer = await caller.join(victim)
    await _linked_again(tile, victim.tile, before)
    return answer._replace(read=tuple(frame.hex() for frame in caller.said))


async def _linked_again(tile: CompromisedTile, victim: int, before: int) -> None:
    """Wait for the tile's own link to come again, which a second one as the same tile has replaced."""
    await tile.until(lambda: tile.losses[victim] > before)
    await tile.until(lambda: tile.link(victim).up)


async def replay(tile: CompromisedTile, order: Order) -> Answer:
    """Say once more what was said when a handshake went well."""
    victim = tile.victim(TARGETS["app"])
    before = tile.losses[victim.tile]
    answer = await repeat(victim.address, order)
    if answer.reached:
        await _linked_again(tile, victim.tile, before)
    return answer


async def repeat(address: str, order: Order) -> Answer:
    """Say recorded frames."""
    if not order.recorded:
        raise ConfigurationError("there is no recording to replay: order `record` first")
    first, *rest = [Frame.FromString(frame) for frame in order.recorded]
    return await converse(address, first, lambda answer: rest[0] if rest else Frame(proof=bytes(32)))


def attacks(role: str) -> dict[str, Attack]:
    """Return the attacks of a role that dial, by name."""
    found = {f"{role}-join": join(role, own_key=False), f"{role}-join-own-key": join(role, own_key=True)}
    if role == "app":
        found |= {"app-dial-driver": stranger, "app-replay": replay}
    return found
