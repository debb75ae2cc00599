"""What a compromised driver tile does by its link to a stack tile."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from dlibos_node.attack.answer import Answer, Order, Step
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.memory import descriptor
from dlibos_node.memory.descriptor import APP_INDEX, partition_number
from dlibos_node.noc import tags

MOST: Final = 1 << 20  # frames nobody asked to send

Attack = Callable[[CompromisedTile, Order], Coroutine[Any, Any, Answer]]


async def _say(tile: CompromisedTile, what: str, tag: int, *words: int, queue: int = tags.EVENTS) -> Answer:
    stack = tile.victim("stack").tile
    tile.send(stack, tag, *words, queue=queue)
    await tile.flush(stack)
    return Answer((Step(what, "sent"),))


async def receive_application(tile: CompromisedTile, order: Order) -> Answer:
    """Hand the stack an application's memory as a received frame."""
    del order
    number = partition_number(tile.victim("app").tile, APP_INDEX)
    return await _say(tile, "RX", tags.RX, descriptor.place(0, 64), descriptor.lease(number, 0))


async def receive_foreign(tile: CompromisedTile, order: Order) -> Answer:
    """Hand the stack another driver's buffer, so that it is released to its owner once too often."""
    del order
    number = partition_number(tile.victim("driver").tile, tile.victim("app").domain)
    return await _say(tile, "RX", tags.RX, descriptor.place(0, 64), descriptor.lease(number, 0))


async def receive_out_of_bounds(tile: CompromisedTile, order: Order) -> Answer:
    """Hand the stack a frame that lies behind the end of one's memory."""
    del order
    partition = tile.own[0]
    place = descriptor.place(partition.layout.size - 16, 4096)
    return await _say(tile, "RX", tags.RX, place, descriptor.lease(partition.number, 0))


async def done_excess(tile: CompromisedTile, order: Order) -> Answer:
    """Report more frames transmitted than the stack asked for."""
    del order
    return await _say(tile, "TX_DONE", tags.TX_DONE, MOST, queue=tags.RELEASES)


async def listen(tile: CompromisedTile, order: Order) -> Answer:
    """Listen on the web's port, as an application would."""
    del order
    port = tile.mesh.domains[tile.victim("app").domain - 1].ports[0]
    return await _say(tile, "LISTEN", tags.LISTEN, port, 0, queue=tags.COMMANDS)


async def abort(tile: CompromisedTile, order: Order) -> Answer:
    """Reset connections, as their application would."""
    del order
    return await _say(tile, "ABORT", tags.ABORT, 1, queue=tags.COMMANDS)


ATTACKS: Final[dict[str, Attack]] = {
    "driver-rx-app": receive_application,
    "driver-rx-foreign": receive_foreign,
    "driver-rx-bounds": receive_out_of_bounds,
    "driver-done-excess": done_excess,
    "driver-listen": listen,
    "driver-abort": abort,
}
