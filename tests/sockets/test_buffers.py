"""The APP partition's buffers: who may take which, as it fills."""

from __future__ import annotations

import pytest

from dlibos_node.memory import descriptor
from dlibos_node.memory.partition import Partition
from dlibos_node.sockets.buffers import ALONE, LARGE, LONG, MEDIUM, SHORT, SMALL, AppMemory


@pytest.fixture
def memory() -> AppMemory:
    return AppMemory(Partition.create(descriptor.partition_number(0, descriptor.APP_INDEX)))


def hoard(memory: AppMemory, size: int, most: int) -> int:
    """Take, for one connection, all it can get up to `most` bytes; return them."""
    holding = 0
    while holding < most and (taken := memory.take_share(size, holding)) is not None:
        holding += taken[0].size
    return holding


@pytest.mark.parametrize(("hoarders", "left"), [(10, 1 << 20), (100, 128 << 10), (200, MEDIUM), (2000, SMALL)])
def test_the_bound_shrinks_as_hoarders_come(memory: AppMemory, hoarders: int, left: int) -> None:
    for _ in range(hoarders):
        hoard(memory, LARGE, 1 << 20)
    assert hoard(memory, LARGE, 1 << 20) >= left


def test_long_sends_leave_the_small_buffers_to_short_ones(memory: AppMemory) -> None:
    for _ in range(1000):
        hoard(memory, LARGE, 1 << 20)
    assert memory.small.free > memory.small.count // 2
    assert hoard(memory, SMALL, 1 << 20) >= 10 * SMALL


def test_a_reservation_is_cut_to_what_the_bound_allows(memory: AppMemory) -> None:
    long, short = LONG // ALONE, SHORT // ALONE
    for size, holding, pool in (
        (LARGE, long - LARGE, memory.large),
        (LARGE, long - 2 * MEDIUM, memory.medium),
        (100, short - 2 * SMALL, memory.small),
    ):
        taken = memory.take_share(size, holding)
        assert taken is not None
        assert taken[0] is pool
    assert memory.take_share(LARGE, long) is None
    assert memory.take_share(100, short) is None


def test_who_holds_nothing_gets_what_there_is(memory: AppMemory) -> None:
    while memory.large.free or memory.medium.free:
        memory.take(LARGE)
    taken = memory.take_share(LARGE, 0)
    assert taken is not None
    assert taken[0] is memory.small
    assert memory.take_share(LARGE, SMALL) is None
    assert memory.allows(memory.free + 1, 0)
    assert not memory.allows(LARGE, SMALL)
