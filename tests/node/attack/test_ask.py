"""Asking a real handover for memory: what a stranger, a liar and a rightful reader get."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dlibos_node.attack.answer import Answer, Order, Step
from dlibos_node.attack.ask import ask, loot
from dlibos_node.identity import Context, Credentials
from dlibos_node.memory.descriptor import APP_INDEX, partition_number
from dlibos_node.memory.handover import Handover
from dlibos_node.memory.partition import Partition
from tests.support.keys import credentials

OWNER, STACK, ATTACKER = 4, 2, 5
NUMBER = partition_number(OWNER, APP_INDEX)
SECRET = b"DLIBOS-CANARY-" + b"0123456789abcdef" * 2
ORDER = Order.of({"canary": "DLIBOS-CANARY-"})


@pytest.fixture(params=[True, False], ids=["protected", "unprotected"])
async def owner(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, Partition]]:
    """An application tile with a secret in its memory, for a stack tile to read."""
    partition = Partition.create(NUMBER, protected=request.param)
    partition.view[: len(SECRET)] = SECRET
    keys = credentials(OWNER, STACK) if request.param else None
    path = str(tmp_path / "mem.sock")
    handover = Handover(path, lambda tile: [partition] if tile == STACK else [], keys)
    handover.start()
    yield path, partition
    handover.close()
    partition.close()


async def asked(path: str, claim: int, keys: Credentials | None) -> Answer:
    """Ask from a thread: the owner answers meanwhile."""
    return loot(await asyncio.to_thread(ask, path, OWNER, claim, Context.MEMORY, keys), 0, ORDER)


@pytest.mark.parametrize("keys", [None, credentials(ATTACKER, STACK)], ids=["without a key", "with its own"])
async def test_a_stolen_name_gets_memory_only_where_nobody_asks_for_proof(
    owner: tuple[str, Partition], keys: Credentials | None
) -> None:
    path, partition = owner
    answer = await asked(path, STACK, keys)
    if partition.protected:
        assert answer == Answer((Step("ask", "wrong_proof"),), False)
    else:
        assert answer.reached
        assert answer.read == (SECRET.decode(),)
        assert answer.detail.endswith("1 written")


async def test_who_is_not_entitled_gets_nothing_in_any_mode_of_the_handover(owner: tuple[str, Partition]) -> None:
    path, partition = owner
    answer = await asked(path, ATTACKER, None)
    assert answer.steps == (Step("ask", "wrong_proof" if partition.protected else "not_entitled"),)
    assert answer.reached is False


def test_what_belongs_to_the_asker_s_own_domain_is_no_loot() -> None:
    partition = Partition.create(partition_number(0, 2))
    answer = loot(("OK", [partition.number], [os.dup(partition.fd)]), 2, ORDER)
    assert answer == Answer((Step("ask", "own_domain_only"),), False, "1 partitions, 0 bytes read, 0 written")
    partition.close()
