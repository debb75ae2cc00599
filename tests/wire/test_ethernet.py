"""Ethernet headers: what is emitted is parsed back; what is broken is refused by reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.wire import ethernet
from dlibos_node.wire.malformed import Malformed
from tests.wire.samples import MAC, macs, u16, values


@given(st.binary(min_size=6, max_size=6), macs, u16)
def test_ethernet_round_trip(destination: bytes, source: bytes, ethertype: int) -> None:
    out = bytearray(20)
    header = ethernet.Header(destination, source, ethertype)
    header.emit(out, 3)
    parsed = ethernet.parse(memoryview(out), 3)
    assert values(parsed) == values(header)


def test_ethernet_refusals() -> None:
    assert ethernet.parse(bytes(13)) is Malformed.TRUNCATED
    assert ethernet.parse(MAC + ethernet.BROADCAST + b"\x08\0") is Malformed.ADDRESS
    assert ethernet.is_group(ethernet.BROADCAST)
    assert not ethernet.is_group(MAC)
    assert ethernet.text(MAC) == "02:00:00:00:00:01"
