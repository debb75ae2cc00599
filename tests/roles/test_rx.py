"""RX memory: any frame in one read, ordinary ones in small buffers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dlibos_node.memory.partition import Partition
from dlibos_node.nic.memory import scatter
from dlibos_node.nic.virtio import MAX_FRAME
from dlibos_node.roles import rx


class Source:
    """A device that gives one frame of `length` bytes at each read."""

    def __init__(self, length: int) -> None:
        self.frame = bytes(i * 7 % 251 for i in range(length))

    def receive(self, buffers: Sequence[memoryview]) -> int:
        return scatter([self.frame], buffers)


@pytest.fixture
def memory() -> rx.RxMemory:
    return rx.RxMemory(Partition.create(64))


@pytest.mark.parametrize("length", [1, 64, rx.SMALL - 1, rx.SMALL, rx.SMALL + 1, 9000, MAX_FRAME])
def test_a_frame_lies_whole_in_one_buffer(memory: rx.RxMemory, length: int) -> None:
    source = Source(length)
    frame = memory.read(source.receive)
    assert frame is not None
    assert frame.length == length
    assert bytes(memory.view[frame.offset : frame.offset + length]) == source.frame
    assert frame.pool is (memory.small if length <= rx.SMALL else memory.large)
    lease = frame.pool.lend(frame.slot, 7) | frame.offset + length - 1
    before = memory.in_use
    assert memory.release(lease, 7) is None
    assert memory.in_use == before - 1


def test_no_frame_takes_no_buffer(memory: rx.RxMemory) -> None:
    before = memory.in_use
    assert memory.read(lambda _buffers: 0) is None
    assert memory.in_use == before


def test_frames_without_a_buffer_are_lost_and_counted(memory: rx.RxMemory) -> None:
    small = Source(100)
    held = [memory.read(small.receive) for _ in range(rx.SMALL_COUNT + 5)]
    assert sum(frame is None for frame in held) == 5
    assert memory.overflowed == 5


def test_large_frames_without_a_large_buffer_are_lost_small_ones_are_not(memory: rx.RxMemory) -> None:
    large = Source(60_000)
    for _ in range(rx.LARGE_COUNT):
        assert memory.read(large.receive) is not None
    assert memory.read(large.receive) is None
    assert memory.overflowed == 1
    assert memory.read(Source(500).receive) is not None
