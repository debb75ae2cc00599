"""Partitions: the owner's writes are seen by readers, who cannot write; sizes are sealed."""

from __future__ import annotations

import os

import pytest

from dlibos_node.errors import PartitionError
from dlibos_node.memory import descriptor
from dlibos_node.memory.partition import Partition

SIZE = 1 << 16


def test_a_number_carries_its_owner() -> None:
    assert descriptor.owner(descriptor.partition_number(35, descriptor.APP_INDEX)) == 35


def test_words_hold_their_fields() -> None:
    assert descriptor.place(3, 4) == 3 << 32 | 4
    assert descriptor.lease(7, 9) == 7 << 48 | 9 << 32


def test_a_reader_sees_what_the_owner_writes_and_cannot_write() -> None:
    owned = Partition.create(1, SIZE)
    mapped = Partition.attach(1, os.dup(owned.fd), SIZE)
    owned.view[100:105] = b"hello"
    assert bytes(mapped.view[100:105]) == b"hello"
    with pytest.raises(TypeError):
        mapped.view[0] = 1
    owned.close()
    mapped.close()


def test_nobody_can_change_a_partition_s_size() -> None:
    owned = Partition.create(1, SIZE)
    for size in (0, SIZE * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(owned.fd, size)
    owned.close()


def test_a_descriptor_that_is_smaller_than_promised_is_refused() -> None:
    owned = Partition.create(1, SIZE)
    with pytest.raises(PartitionError, match="65536 bytes, 131072 were promised"):
        Partition.attach(1, os.dup(owned.fd), SIZE * 2)
    owned.close()


def test_closing_with_a_slice_still_held_is_allowed() -> None:
    owned = Partition.create(1, SIZE)
    held = owned.view[10:20]
    owned.close()
    held[0] = 1
    assert held[0] == 1
