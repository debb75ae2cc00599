"""What a compromised stack tile does by its links to driver and application tiles."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from dlibos_node.attack.answer import Answer, Order, Step
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.memory import descriptor
from dlibos_node.memory.descriptor import APP_INDEX, TX_INDEX, partition_number
from dlibos_node.memory.partition import Partition
from dlibos_node.noc import tags

HEADER: Final = 54  # bytes: Ethernet, IPv4, TCP
META: Final = HEADER << 8
PHANTOM: Final = 0x7FFF_0001  # the handle of a connection that there is not
SLOTS: Final = 64
MOST: Final = 1 << 20  # bytes nobody sent

Attack = Callable[[CompromisedTile, Order], Coroutine[Any, Any, Answer]]


async def _sent(tile: CompromisedTile, victim: int, what: str) -> Answer:
    await tile.flush(victim)
    return Answer((Step(what, "sent"),))


def _named(partition: Partition, offset: int, length: int, forge: int = 0) -> tuple[int, int]:
    """Return the descriptor of a span, current where `forge` is 0."""
    slot = max(partition.layout.slot(offset, 1), 0)
    generation = (partition.generations[slot] + forge) % (1 << 16)
    return descriptor.place(offset, length), descriptor.lease(partition.number, generation)


def _header(tile: CompromisedTile) -> tuple[int, int]:
    return _named(tile.own[0], 0, HEADER)


async def _transmit(tile: CompromisedTile, *parts: tuple[int, int]) -> Answer:
    driver = tile.victim("driver").tile
    tile.send(driver, tags.TX, META, *(word for part in parts for word in part))
    return await _sent(tile, driver, "TX")


async def foreign_header(tile: CompromisedTile, order: Order) -> Answer:
    """Let the driver send what another stack tile has in its memory."""
    del order
    number = partition_number(tile.victim("stack").tile, TX_INDEX)
    return await _transmit(tile, (descriptor.place(0, HEADER), descriptor.lease(number, 0)))


async def received_payload(tile: CompromisedTile, order: Order) -> Answer:
    """Let the driver send what another client has sent."""
    del order
    number = partition_number(tile.victim("driver").tile, tile.victim("app").domain)
    return await _transmit(tile, _header(tile), _named(tile.mapped[number], 0, 512))


async def out_of_bounds(tile: CompromisedTile, order: Order) -> Answer:
    """Let the driver send what lies behind an application's memory."""
    del order
    partition = _application(tile)
    return await _transmit(tile, _header(tile), _named(partition, partition.layout.size - 16, 4096))


async def stale_payload(tile: CompromisedTile, order: Order) -> Answer:
    """Let the driver send an application's buffer by a generation that is past."""
    del order
    return await _transmit(tile, _header(tile), _named(_application(tile), 0, 64, -1))


def _application(tile: CompromisedTile) -> Partition:
    return tile.mapped[partition_number(tile.victim("app").tile, APP_INDEX)]


def release(forge: int) -> Attack:
    """Release receive buffers that another stack tile holds; or, forged, those released before."""

    async def perform(tile: CompromisedTile, order: Order) -> Answer:
        del order
        driver = tile.victim("driver").tile
        partition = tile.mapped[partition_number(driver, tile.victim("app").domain)]
        size = partition.layout.pools[0].size
        words = [_named(partition, slot * size, 1, forge)[1] | slot * size for slot in range(SLOTS)]
        tile.send(driver, tags.RELEASE, *words, queue=tags.RELEASES)
        return await _sent(tile, driver, "RELEASE")

    return perform


async def foreign_received(tile: CompromisedTile, order: Order) -> Answer:
    """Tell an application of a connection whose payload lies in another domain's memory."""
    del order
    application = tile.victim("app")
    other = next(number for number in range(1, len(tile.mesh.domains) + 1) if number != application.domain)
    number = partition_number(tile.victim("driver").tile, other)
    place, lease = _named(tile.mapped[number], 0, 64)
    _connect(tile, application.tile)
    tile.send(application.tile, tags.RECV, PHANTOM, place, lease, queue=tags.EVENTS)
    return await _disconnect(tile, application.tile, "RECV")


async def sent_excess(tile: CompromisedTile, order: Order) -> Answer:
    """Tell an application that more was acknowledged than it has sent."""
    del order
    application = tile.victim("app").tile
    _connect(tile, application)
    tile.send(application, tags.SENT, PHANTOM, MOST, queue=tags.EVENTS)
    return await _disconnect(tile, application, "SENT")


def _connect(tile: CompromisedTile, application: int) -> None:
    ends = 0x0A4D_0009 << 32 | 40000 << 16 | 80
    tile.send(application, tags.CONNECTED, PHANTOM, ends, queue=tags.EVENTS)


async def _disconnect(tile: CompromisedTile, application: int, what: str) -> Answer:
    """End the phantom: what the application sent by it must not stay lent for ever."""
    tile.send(application, tags.DEAD, PHANTOM, 1, queue=tags.EVENTS)
    return await _sent(tile, application, what)


ATTACKS: Final[dict[str, Attack]] = {
    "stack-tx-foreign-header": foreign_header,
    "stack-tx-rx-payload": received_payload,
    "stack-tx-bounds": out_of_bounds,
    "stack-tx-stale": stale_payload,
    "stack-release-foreign": release(0),
    "stack-release-twice": release(-1),
    "stack-recv-foreign": foreign_received,
    "stack-sent-excess": sent_excess,
}
