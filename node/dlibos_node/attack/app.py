"""What a compromised application tile does by its link to a stack tile: descriptors and commands.

The attacker's own connection is the last one the stack told it of; the runner keeps it open meanwhile.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Final

from dlibos_node import config
from dlibos_node.attack.answer import Answer, Order, Step
from dlibos_node.attack.memory import chunks, secrets_in
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.memory import descriptor
from dlibos_node.memory.descriptor import APP_INDEX, partition_number
from dlibos_node.noc import tags
from dlibos_node.roles.app import App
from dlibos_node.wire import ipv4

RECENT: Final = 512  # handles before one's own that are tried
NOISE: Final = b"?" * 64
CHANGED: Final = 16 * 1024  # bytes that change after they were sent

Attack = Callable[[CompromisedTile, Order], Answer | Coroutine[Any, Any, Answer]]


def role_of(tile: CompromisedTile) -> App:
    """Return the tile's role. TypeError where it is no application."""
    role = tile.role
    if not isinstance(role, App):
        raise TypeError("not an application tile")
    return role


def stack_of(tile: CompromisedTile) -> int:
    """Return the stack tile that is attacked."""
    return tile.victim("stack").tile


def handle_of(tile: CompromisedTile) -> int:
    """Return the handle of one's own last connection."""
    return tile.heard[stack_of(tile), tags.CONNECTED][0]


def _strangers(tile: CompromisedTile) -> Iterator[int]:
    """Yield handles that are not one's own, among which the other domain's connections are."""
    mine = set(role_of(tile).sockets._sockets)
    last = handle_of(tile)
    yield from (handle for handle in range(max(1, last - RECENT), last + 16) if handle not in mine)


async def sent(tile: CompromisedTile, what: str, detail: str = "") -> Answer:
    """Return what can be said from inside: that the messages went out."""
    await tile.flush(stack_of(tile))
    return Answer((Step(what, "sent"),), None, detail)


def own_buffer(tile: CompromisedTile, forge: int = 0) -> tuple[int, int]:
    """Return a descriptor of one's own last buffer, with something in it; `forge` is added to the generation."""
    partition = tile.own[0]
    at = partition.layout.payload - len(NOISE)
    partition.view[at : at + len(NOISE)] = NOISE
    generation = (partition.generations[partition.layout.slots - 1] + forge) % (1 << 16)
    return descriptor.place(at, len(NOISE)), descriptor.lease(partition.number, generation)


async def send_foreign(tile: CompromisedTile, order: Order) -> Answer:
    """Send what another application has in its memory to one's own client."""
    number = partition_number(tile.victim("app").tile, APP_INDEX)
    place = descriptor.place(_where(tile, number, order.canary), 512)
    tile.send(stack_of(tile), tags.SEND, handle_of(tile), place, descriptor.lease(number, 0))
    return await sent(tile, "SEND")


def _where(tile: CompromisedTile, number: int, canary: bytes) -> int:
    """Return where the other application's secrets lie, if its memory can be seen; else where they may."""
    if number in tile.mapped:
        for at, data in chunks(tile.mapped[number].fd):
            if secrets_in(data, canary):
                return at + data.index(canary)
    return 0


async def send_out_of_bounds(tile: CompromisedTile, order: Order) -> Answer:
    """Send what lies behind the end of one's own memory."""
    del order
    partition = tile.own[0]
    place = descriptor.place(partition.layout.size - 16, 4096)
    tile.send(stack_of(tile), tags.SEND, handle_of(tile), place, own_buffer(tile)[1])
    return await sent(tile, "SEND")


def send_generation(forge: int) -> Attack:
    """Send a buffer of one's own by a generation that is past, or to come."""

    async def perform(tile: CompromisedTile, order: Order) -> Answer:
        del order
        tile.send(stack_of(tile), tags.SEND, handle_of(tile), *own_buffer(tile, forge))
        return await sent(tile, "SEND")

    return perform


def to_strangers(tag: int, name: str) -> Attack:
    """Command the other domain's connections."""

    async def perform(tile: CompromisedTile, order: Order) -> Answer:
        del order
        rest = {tags.SEND: own_buffer(tile), tags.RECV_DONE: (1,)}.get(tag, ())
        for handle in _strangers(tile):
            tile.send(stack_of(tile), tag, handle, *rest)
        return await sent(tile, name)

    return perform


async def release_twice(tile: CompromisedTile, order: Order) -> Answer:
    """Say once more that the last request was read, so that its buffer is released twice."""
    del order
    length = tile.heard[stack_of(tile), tags.RECV][1] & descriptor.LOW32
    tile.send(stack_of(tile), tags.RECV_DONE, handle_of(tile), length)
    return await sent(tile, "RECV_DONE")


async def change_after_send(tile: CompromisedTile, order: Order) -> Answer:
    """Write a buffer anew while the stack and the driver still send it."""
    del order
    memory = role_of(tile).sockets.memory
    taken = memory.take(CHANGED)
    if taken is None:
        raise LookupError("no buffer is free")
    pool, slot = taken
    at, stack = pool.offset(slot), stack_of(tile)
    memory.view[at : at + CHANGED] = b"A" * CHANGED
    tile.send(stack, tags.SEND, handle_of(tile), descriptor.place(at, CHANGED), pool.lend(slot, stack))
    await tile.flush(stack)
    memory.view[at : at + CHANGED] = b"B" * CHANGED
    tile.kept.append(partial(pool.put, slot))
    return Answer((Step("SEND", "sent"),), None, "written anew at once")


def as_other_role(tag: int, name: str, *words: int, queue: int = tags.COMMANDS) -> Attack:
    """Send what only a driver or a stack tile sends."""

    async def perform(tile: CompromisedTile, order: Order) -> Answer:
        del order
        tile.send(stack_of(tile), tag, *words, queue=queue)
        return await sent(tile, name)

    return perform


async def inject(tile: CompromisedTile, order: Order) -> Answer:
    """Hand the stack a frame of one's own making, to the other domain's port, as if it had come from the wire."""
    del order
    partition, frame = tile.own[0], _stray(tile)
    place, lease = own_buffer(tile)
    at = (place >> 32) - len(frame)
    partition.view[at : at + len(frame)] = frame
    words = descriptor.place(at, len(frame)), lease | tags.RX_CHECKSUM_OK
    tile.send(stack_of(tile), tags.RX, *words, queue=tags.EVENTS)
    return await sent(tile, "RX")


def _stray(tile: CompromisedTile) -> bytes:
    """Return a TCP segment, an ACK of nothing, that a stack answers with a reset."""
    mac = config.mac_address(tile.mesh.nic.mac, "nic.mac")
    mesh = int(config.interface_address(tile.mesh.nic.address, "nic.address").ip)
    peer = int(config.interface_address(tile.mesh.nic.peer_address, "nic.peer_address").ip)
    head = bytearray(ipv4.LENGTH)
    ipv4.Header(peer, mesh, ipv4.TCP, ipv4.LENGTH + 20).emit(head)
    port = tile.mesh.domains[tile.victim("app").domain - 1].ports[0]
    segment = struct.pack("!HHIIHHHH", 40000, port, 1, 1, 0x5010, 1024, 0, 0)
    return mac + bytes(6) + b"\x08\x00" + bytes(head) + segment


async def listen(tile: CompromisedTile, order: Order) -> Answer:
    """Listen on the other domain's port, to get its clients."""
    del order
    port = tile.mesh.domains[tile.victim("app").domain - 1].ports[0]
    for _ in range(2):
        tile.send(stack_of(tile), tags.LISTEN, port, 0)
    return await sent(tile, "LISTEN")


ATTACKS: Final[dict[str, Attack]] = {
    "app-send-foreign": send_foreign,
    "app-send-bounds": send_out_of_bounds,
    "app-send-stale": send_generation(-1),
    "app-send-forged": send_generation(7),
    "app-send-stranger": to_strangers(tags.SEND, "SEND"),
    "app-close-stranger": to_strangers(tags.CLOSE, "CLOSE"),
    "app-abort-stranger": to_strangers(tags.ABORT, "ABORT"),
    "app-release-stranger": to_strangers(tags.RECV_DONE, "RECV_DONE"),
    "app-release-twice": release_twice,
    "app-change-after-send": change_after_send,
    "app-inject": inject,
    "app-tx-done": as_other_role(tags.TX_DONE, "TX_DONE", 1, queue=tags.RELEASES),
    "app-release-rx": as_other_role(tags.RELEASE, "RELEASE", 0, queue=tags.RELEASES),
    "app-listen": listen,
}
