"""The in-memory wire: order, readiness, scatter, and what happens to frames that have no place."""

from __future__ import annotations

import select

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.nic.device import Drop
from dlibos_node.nic.memory import scatter
from tests.nic.frames import Wire, arp_frame, numbered, receive


def readable(wire: Wire) -> bool:
    return bool(select.select([wire], [], [], 0)[0])


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_order_and_readiness(wire: Wire) -> None:
    assert not readable(wire)
    for number in range(3):
        assert wire.deliver([numbered(number)])
    for number in range(3):
        assert readable(wire)
        assert receive(wire) == numbered(number)
    assert not readable(wire)
    assert receive(wire) == b""
    wire.deliver([b"again" * 4])
    assert readable(wire)
    wire.close()


def test_transmit_gathers_and_copies(wire: Wire) -> None:
    frame = bytearray(arp_frame())
    assert wire.transmit([memoryview(frame)[:20], frame[20:]])
    frame[:] = bytes(len(frame))
    assert wire.sent.pop() == arp_frame()
    assert wire.statistics.tx_bytes == 42
    wire.close()


def test_full_and_refused_are_counted(wire: Wire) -> None:
    while wire.deliver([arp_frame()]):
        pass
    assert wire.statistics.drops[Drop.FULL] == 1
    assert not wire.transmit([b"short"])
    assert wire.statistics.drops[Drop.REFUSED] == 1
    wire.close()


def test_closed(wire: Wire) -> None:
    wire.deliver([arp_frame()])
    wire.close()
    wire.close()
    assert receive(wire) == b""
    assert not wire.deliver([arp_frame()])
    assert not wire.transmit([arp_frame()])
    assert wire.statistics.drops[Drop.GONE] == 2


@given(parts=st.lists(st.binary(max_size=20), max_size=5), sizes=st.lists(st.integers(0, 20), max_size=5))
def test_scatter(parts: list[bytes], sizes: list[int]) -> None:
    buffers = [bytearray(size) for size in sizes]
    count = scatter(parts, [memoryview(buffer) for buffer in buffers])
    assert count == min(sum(map(len, parts)), sum(sizes))
    assert b"".join(buffers)[:count] == b"".join(parts)[:count]
