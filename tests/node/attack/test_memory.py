"""Attacks on memory: each changes bytes of a partition that is not sealed, and none those of one that is."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator

import pytest

from dlibos_node.attack.answer import Step
from dlibos_node.attack.memory import TECHNIQUES, Target, search, secrets_in, strike
from dlibos_node.memory.descriptor import TX_INDEX, partition_number
from dlibos_node.memory.partition import Partition

NUMBER = partition_number(2, TX_INDEX)
CANARY = b"DLIBOS-CANARY-"
SECRET = CANARY + b"0123456789abcdef" * 2
Maker = Callable[[bool], Partition]


@pytest.fixture
def mapped() -> Iterator[Maker]:
    """Make a partition, and return it as a reader maps it."""
    made: list[Partition] = []

    def make(protected: bool) -> Partition:
        owner = Partition.create(NUMBER, protected=protected)
        reader = Partition.attach(NUMBER, os.dup(owner.fd), protected=protected)
        made.extend((owner, reader))
        return reader

    yield make
    for partition in made:
        partition.close()


BLOCKED = {
    "write": "EFAULT",
    "map": "EPERM",
    "mprotect": "EACCES",
    "reopen": "EPERM",
    "pwrite": "EPERM",
    "own-mem": "EIO",  # in a hardened tile Landlock stops it before
    "truncate": "EPERM",
    "punch": "EPERM",
    "seal": "EPERM",
}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_sealed_partition_stays_as_it_is(mapped: Maker, name: str) -> None:
    steps, changed = strike(mapped(True), TECHNIQUES[name])
    assert not changed
    assert steps[-1].result in {BLOCKED[name], "EFAULT"}


@pytest.mark.parametrize("name", [name for name in TECHNIQUES if name != "seal"])
def test_one_that_is_not_sealed_is_changed(mapped: Maker, name: str) -> None:
    steps, changed = strike(mapped(False), TECHNIQUES[name])
    assert changed
    assert {step.result for step in steps} == {"OK"}


def test_a_seal_against_the_owner_is_refused_while_it_maps_its_memory_writable(mapped: Maker) -> None:
    assert strike(mapped(False), TECHNIQUES["seal"]) == ([Step("F_ADD_SEALS", "EBUSY")], False)


def test_the_page_attacked_is_the_last_one_of_the_last_pool(mapped: Maker) -> None:
    partition = mapped(True)
    last = partition.layout.pools[-1]
    assert last.end - 2 * mmap.PAGESIZE < Target.in_partition(partition).offset <= last.end - mmap.PAGESIZE


def test_secrets_are_found_where_something_was_written(mapped: Maker) -> None:
    partition = mapped(False)
    offset = partition.layout.pools[1].base
    partition.view[offset : offset + len(SECRET)] = SECRET
    found, total = search([partition], CANARY)
    assert found == {SECRET.decode()}
    assert len(SECRET) <= total < partition.layout.size
    assert secrets_in(CANARY + b"too short", CANARY) == set()
