"""Attacks by a tile's own links: words that break the NoC's rules, and more of them than anybody asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from dlibos_node.attack.answer import Answer, Order, Step
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.noc import message, tags

VICTIMS: Final = {"app": "stack", "stack": "driver", "driver": "stack"}
FLOOD: Final = 12  # times what a queue holds
NOBODY: Final = 0x3FE  # a tile that is not there, and a tag that means nothing

Attack = Callable[[CompromisedTile, Order], Coroutine[Any, Any, Answer]]
Words = Callable[[int, int], list[int]]
"""The words to send, given the victim's tile and this one's."""


def _source(victim: int, me: int) -> list[int]:
    return [message.header(victim, me ^ 1, NOBODY, tags.COMMANDS, 1), 0]


def _destination(victim: int, me: int) -> list[int]:
    return [message.header(victim ^ 1, me, NOBODY, tags.COMMANDS, 1), 0]


def _long(victim: int, me: int) -> list[int]:
    return [message.header(victim, me, NOBODY, tags.COMMANDS, message.MAX_WORDS + 1), *([0] * (message.MAX_WORDS + 1))]


def _truncated(victim: int, me: int) -> list[int]:
    return [message.header(victim, me, NOBODY, tags.COMMANDS, 9), 0]


def _queue(victim: int, me: int) -> list[int]:
    return [message.header(victim, me, NOBODY, message.QUEUES, 1), 0]


BREACHES: Final[dict[str, Words]] = {
    "source": _source,
    "destination": _destination,
    "long": _long,
    "truncated": _truncated,
    "no-queue": _queue,
}


def breach(role: str, words: Words) -> Attack:
    """Send words that break a rule; the link goes, and comes again."""

    async def perform(tile: CompromisedTile, order: Order) -> Answer:
        del order
        victim = tile.victim(VICTIMS[role]).tile
        return await _punished(tile, victim, words(victim, tile.tile.tile))

    return perform


def beyond(role: str) -> Attack:
    """Send more than the victim has granted credits for."""

    async def perform(tile: CompromisedTile, order: Order) -> Answer:
        del order
        victim = tile.victim(VICTIMS[role]).tile
        peer = tile.link(victim)
        peer.credits[tags.COMMANDS] = 1 << 30
        return await _punished(tile, victim, _valid(victim, tile.tile.tile) * peer.capacity)

    return perform


async def _punished(tile: CompromisedTile, victim: int, words: list[int]) -> Answer:
    """Send the words and wait for what the victim does about them."""
    before, peer = tile.losses[victim], tile.link(victim)
    tile.send_words(victim, tags.COMMANDS, words)
    await tile.flush(victim)
    down = await tile.until(lambda: tile.losses[victim] > before)
    again = await tile.until(lambda: peer.up)
    return Answer((Step("link", "closed" if down else "up"),), not down, "" if again else "it did not come again")


def within(role: str) -> Attack:
    """Send, as fast as credits come, messages that mean nothing."""

    async def perform(tile: CompromisedTile, order: Order) -> Answer:
        del order
        victim = tile.victim(VICTIMS[role]).tile
        peer = tile.link(victim)
        before, words = peer.statistics.stalls, _valid(victim, tile.tile.tile) * (peer.capacity // 2)
        for _ in range(FLOOD):
            tile.send_words(victim, tags.COMMANDS, words)
            await tile.flush(victim)
            await asyncio.sleep(0)
        stalls = peer.statistics.stalls - before
        kept = peer.up and stalls > 0
        sent = f"{FLOOD * len(words)} words sent, {stalls} times without credit"
        return Answer((Step("flood", "stalled" if kept else "up"),), None, sent)

    return perform


def _valid(victim: int, me: int) -> list[int]:
    return [message.header(victim, me, NOBODY, tags.COMMANDS, 1), 0]


async def renew(tile: CompromisedTile, victim: int) -> None:
    """Have the link closed by a breach, and wait for the next: it begins with all credits."""
    await _punished(tile, victim, _queue(victim, tile.tile.tile))


async def links(tile: CompromisedTile, order: Order) -> Answer:
    """Tell whether all links are up, which some attacks break."""
    del order
    return Answer(reached=await tile.linked())


def attacks(role: str) -> dict[str, Attack]:
    """Return the attacks of a role by its links, by name."""
    breaches = {f"{role}-link-{name}": breach(role, words) for name, words in BREACHES.items()}
    return {**breaches, f"{role}-link-beyond": beyond(role), f"{role}-link-flood": within(role)}
