"""Layouts: every byte of a pool belongs to one entry of the table, and spans across buffers to none."""

from __future__ import annotations

import mmap

import pytest

from dlibos_node.memory import descriptor, layout
from dlibos_node.memory.layout import Layout


def test_the_pools_lie_one_behind_the_other_and_the_table_behind_them() -> None:
    small = Layout(((10, 3), (100, 2)))
    assert [(pool.base, pool.end, pool.first) for pool in small.pools] == [(0, 30, 0), (30, 230, 3)]
    assert (small.payload, small.slots, small.size) == (230, 5, mmap.PAGESIZE)


@pytest.mark.parametrize("kind", [layout.RX, layout.TX, layout.APP])
def test_every_buffer_has_an_entry_of_its_own(kind: Layout) -> None:
    found = [kind.slot(pool.base + n * pool.size, pool.size) for pool in kind.pools for n in range(pool.count)]
    assert found == list(range(kind.slots))
    assert kind.size >= kind.payload + 2 * kind.slots


def test_no_entry_for_what_crosses_buffers_or_lies_outside() -> None:
    small = Layout(((10, 3), (100, 2)))
    for offset, length in ((5, 6), (25, 10), (29, 2), (230, 0), (1 << 31, 1), (0, 1 << 31)):
        assert small.slot(offset, length) == -1


def test_a_partition_s_index_says_its_layout() -> None:
    number = descriptor.partition_number
    assert layout.layout_of(number(9, descriptor.TX_INDEX)) is layout.TX
    assert layout.layout_of(number(9, descriptor.APP_INDEX)) is layout.APP
    assert layout.layout_of(number(9, 1)) is layout.RX
