"""Other tiles' memory: mapped while the owner lives, gone with it, and back with its next process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dlibos_node.errors import PartitionError
from dlibos_node.memory import descriptor
from dlibos_node.memory import foreign as foreign_module
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.foreign import Foreign, Owner
from dlibos_node.memory.handover import Handover
from dlibos_node.memory.partition import Partition
from tests.support.keys import credentials

OWNER, READER = 2, 5
PATIENCE = 30.0  # more than is ever needed
NUMBER = descriptor.partition_number(OWNER, descriptor.TX_INDEX)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "mem.sock")


@pytest.fixture
async def foreign(path: str) -> AsyncIterator[Foreign]:
    following = Foreign()
    following.follow(Owner(path, OWNER, READER, credentials(READER, OWNER)), [NUMBER])
    yield following
    following.close()


class Process:
    """A process of the tile that owns the memory."""

    def __init__(self, path: str, text: bytes) -> None:
        self.partition = Partition.create(NUMBER)
        self.partition.view[: len(text)] = text
        self.handover = Handover(path, lambda _tile: [self.partition], credentials(OWNER, READER))
        self.handover.start()

    async def end(self) -> None:
        self.handover.close()
        await asyncio.sleep(0)  # the connections close when their tasks hear of it
        self.partition.close()


async def gone(foreign: Foreign) -> None:
    while NUMBER in foreign.partitions:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0)


async def test_the_memory_goes_and_comes_with_its_owner(
    path: str, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_module, "LINGER", 0.0)
    waiting = asyncio.create_task(foreign.ready(OWNER))
    await asyncio.sleep(0)
    assert not waiting.done()
    first = Process(path, b"first")
    await waiting
    assert await foreign.all_ready(PATIENCE) == []
    held = foreign.partitions[NUMBER].view[:5]
    assert bytes(held) == b"first"
    await first.end()
    await gone(foreign)
    assert bytes(held) == b"first", "whoever reads the old memory may finish"
    second = Process(path, b"second")
    await foreign.ready(OWNER)
    assert bytes(foreign.partitions[NUMBER].view[:6]) == b"second"
    await second.end()


async def test_memory_of_a_dead_process_is_read_until_that_of_the_next_is_there(path: str, foreign: Foreign) -> None:
    first = Process(path, b"first")
    await foreign.ready(OWNER)
    await first.end()
    while foreign._owners[OWNER].mapped.is_set():  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0)
    assert bytes(foreign.partitions[NUMBER].view[:5]) == b"first"
    second = Process(path, b"second")
    await foreign.ready(OWNER)
    assert bytes(foreign.partitions[NUMBER].view[:6]) == b"second"
    await second.end()


async def test_what_is_missing_is_gone_or_was_never_ours(foreign: Foreign) -> None:
    assert foreign.missing(NUMBER) is Fault.GONE
    assert foreign.missing(NUMBER + 1) is Fault.PARTITION


async def test_a_tile_that_is_not_read_is_always_ready(foreign: Foreign) -> None:
    await foreign.ready(OWNER + 1)


async def test_an_owner_that_refuses_is_named(path: str, foreign: Foreign) -> None:
    handover = Handover(path, lambda _tile: [], credentials(OWNER, READER))
    handover.start()
    with pytest.raises(PartitionError, match=r"memory of tile 2 .* refused \(not_entitled"):
        await foreign.all_ready(0.05)
    handover.close()


async def test_an_owner_that_hears_of_the_reader_later_is_asked_again(path: str, foreign: Foreign) -> None:
    partition = Partition.create(NUMBER)
    granted: list[Partition] = []
    handover = Handover(path, lambda _tile: granted, credentials(OWNER, READER))
    handover.start()
    waiting = asyncio.create_task(foreign.all_ready(PATIENCE))
    while not handover.refused:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0)
    granted.append(partition)
    assert await waiting == []
    handover.close()
    partition.close()


async def test_who_is_not_there_is_named_in_the_end(foreign: Foreign) -> None:
    assert await foreign.all_ready(0.05) == [OWNER]


async def test_the_owner_knows_who_has_mapped_its_memory(path: str, foreign: Foreign) -> None:
    partition, told = Partition.create(NUMBER), asyncio.Event()
    handover = Handover(path, lambda _tile: [partition], credentials(OWNER, READER), told.set)
    handover.start()
    assert handover.mapped == set()
    await told.wait()
    assert handover.mapped == {READER}
    assert NUMBER in foreign.partitions
    foreign.forget(READER + 1)
    assert handover.mapped == {READER}
    foreign.forget(OWNER)
    while handover.mapped:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0)
    handover.close()
    partition.close()


async def test_an_owner_does_not_hand_out_another_s_memory(path: str, foreign: Foreign) -> None:
    forged = Partition.create(descriptor.partition_number(OWNER + 1, descriptor.TX_INDEX))
    handover = Handover(path, lambda _tile: [forged], credentials(OWNER, READER))
    handover.start()
    with pytest.raises(PartitionError, match=f"partition {forged.number} is not of tile {OWNER}"):
        await foreign.all_ready(PATIENCE)
    assert not foreign.partitions
    handover.close()
    forged.close()
