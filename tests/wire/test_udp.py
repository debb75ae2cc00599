"""UDP headers: what is emitted is parsed back; what is broken is refused by reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.wire import udp
from dlibos_node.wire.malformed import Malformed
from tests.wire.samples import HERE, THERE, u16, u32, values


@given(u16, u16, st.binary(max_size=100), u32, u32)
def test_udp_round_trip(source_port: int, destination_port: int, payload: bytes, source: int, destination: int) -> None:
    header = udp.Header(source_port, destination_port, udp.LENGTH + len(payload))
    data = header.emit(source, destination, payload) + payload
    assert values(udp.parse(data + b"padding", source, destination)) == values(header)
    assert data[6:8] != b"\0\0"


def test_udp_refusals() -> None:
    data = bytearray(udp.Header(1, 2, 12).emit(HERE, THERE, b"data") + b"data")
    assert udp.parse(data[:7], HERE, THERE) is Malformed.TRUNCATED
    assert udp.parse(data[:11], HERE, THERE) is Malformed.TRUNCATED
    data[9] ^= 1
    assert udp.parse(data, HERE, THERE) is Malformed.CHECKSUM
    data[6:8] = b"\0\0"
    assert isinstance(udp.parse(data, HERE, THERE), udp.Header)
    data[4:6] = b"\0\x07"
    assert udp.parse(data, HERE, THERE) is Malformed.TOTAL_LENGTH
