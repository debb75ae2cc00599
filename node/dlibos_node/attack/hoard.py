"""What a compromised application tile does to exhaust others: hoards buffers, floods a stack tile."""

from __future__ import annotations

from functools import partial
from typing import Final

from dlibos_node.attack.answer import OK, Answer, Order, Step
from dlibos_node.attack.app import Attack, handle_of, role_of, sent, stack_of
from dlibos_node.attack.links import renew
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.memory import descriptor
from dlibos_node.memory.descriptor import APP_INDEX, partition_number
from dlibos_node.noc import tags
from dlibos_node.sockets.api import Connection

MESSAGES: Final = 500  # to a frame
FRAMES: Final = 10
DESCRIPTORS: Final = 62  # to a SEND


async def flood(tile: CompromisedTile, order: Order) -> Answer:
    """Send nothing but messages that must be refused."""
    del order
    stack, foreign = stack_of(tile), partition_number(tile.victim("app").tile, APP_INDEX)
    bad = [handle_of(tile), descriptor.place(0, 64), descriptor.lease(foreign, 0)]
    words = [tile.link(stack).header(tags.SEND, tags.COMMANDS, len(bad)), *bad]
    for _ in range(FRAMES):
        tile.send_words(stack, tags.COMMANDS, words * MESSAGES)
        await tile.flush(stack)
    return await sent(tile, "SEND", f"{FRAMES * MESSAGES} messages")


async def send_endlessly(tile: CompromisedTile, order: Order) -> Answer:
    """Send the same buffer on one's own connection over and over, faster than any client could take it."""
    del order
    stack, partition = stack_of(tile), tile.own[0]
    last = partition.layout.pools[-1]
    place = descriptor.place(last.end - last.size, last.size)
    lease = descriptor.lease(partition.number, partition.generations[partition.layout.slots - 1])
    payload = [handle_of(tile), *([place, lease] * DESCRIPTORS)]
    words = [tile.link(stack).header(tags.SEND, tags.COMMANDS, len(payload)), *payload]
    for _ in range(FRAMES):
        tile.send_words(stack, tags.COMMANDS, words * (MESSAGES // 10))
        await tile.flush(stack)
    return await sent(tile, "SEND", f"{FRAMES * MESSAGES // 10 * DESCRIPTORS} times 64 KiB")


async def ask_endlessly(tile: CompromisedTile, order: Order) -> Answer:
    """Ask for what is answered each time, and take no answers; the link is renewed afterwards."""
    del order
    stack = stack_of(tile)
    payload = [tile.mesh.domains[tile.tile.domain - 1].ports[0], 0]
    words = [tile.link(stack).header(tags.LISTEN, tags.COMMANDS, len(payload)), *payload]
    tile.deaf = True
    for _ in range(FRAMES):
        tile.send_words(stack, tags.COMMANDS, words * MESSAGES)
        await tile.flush(stack)
    tile.deaf = False
    await renew(tile, stack)
    return Answer((Step("LISTEN", "sent"),), None, f"{FRAMES * MESSAGES} questions")


class _Hoarder:
    """Takes what comes and gives nothing back."""

    def received(self, data: memoryview) -> None:
        """Nothing."""

    def sent(self) -> None:
        """Nothing."""

    def eof(self) -> None:
        """Nothing."""

    def closed(self, reset: bool) -> None:
        """Nothing."""


def hoard_received(tile: CompromisedTile, order: Order) -> Answer:
    """Never say of anything received that it was read."""
    del order
    sockets = role_of(tile).sockets

    def take(connection: Connection) -> _Hoarder:
        connection.pause()
        tile.kept.append(connection.resume)
        return _Hoarder()

    tile.kept.append(partial(setattr, sockets, "_accept", sockets._accept))
    sockets._accept = take
    return Answer((Step("hoard", OK),))


def hoard_own(tile: CompromisedTile, order: Order) -> Answer:
    """Take all buffers of one's own memory and never let go."""
    del order
    memory = role_of(tile).sockets.memory
    while (taken := memory.take(1)) is not None:
        pool, slot = taken
        tile.kept.append(partial(pool.put, slot))
    return Answer((Step("hoard", OK),), None, f"{memory.in_use} buffers taken, {memory.free} bytes left")


async def relent(tile: CompromisedTile, order: Order) -> Answer:
    """Give back what was hoarded, so that the next attack meets the mesh as it was."""
    del order
    for give_back in tile.kept:
        give_back()
    tile.kept.clear()
    role_of(tile).flush()
    await tile.flush(stack_of(tile))
    return Answer()


ATTACKS: Final[dict[str, Attack]] = {
    "app-flood": flood,
    "app-send-endless": send_endlessly,
    "app-ask-endless": ask_endlessly,
    "app-hoard-rx": hoard_received,
    "app-hoard-app": hoard_own,
}
