"""TCP headers and options: what is emitted is parsed back; what is broken is refused by reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.wire import checksum, ipv4, tcp
from dlibos_node.wire.malformed import Malformed
from tests.wire.samples import HERE, THERE, u8, u16, u32, values


@given(u16, u16, u32, u32, u8, u16, st.sampled_from([b"", b"\x02\x04\x05\xb4", b"\1\1\1\0"]))
def test_tcp_round_trip(
    source_port: int, destination_port: int, seq: int, ack: int, flags: int, window: int, options: bytes
) -> None:
    flags &= ~(tcp.FIN | tcp.RST) if flags & tcp.SYN else 0xFF
    header = tcp.Header(source_port, destination_port, seq, ack, flags, window, tcp.LENGTH + len(options))
    out = bytearray(40)
    header.emit(out, 2, 0x1234, options)
    assert values(tcp.parse(out, 2)) == values(header)
    assert out[2 + tcp.CHECKSUM : 2 + tcp.CHECKSUM + 2] == b"\x12\x34"
    assert out[2 + tcp.LENGTH : 2 + tcp.LENGTH + len(options)] == options


def test_tcp_refusals() -> None:
    out = bytearray(20)
    tcp.Header(1, 2, 3, 4, tcp.ACK, 5).emit(out)
    assert tcp.parse(out[:19]) is Malformed.TRUNCATED
    out[tcp.DATA_OFFSET] = 0x40
    assert tcp.parse(out) is Malformed.HEADER_LENGTH
    out[tcp.DATA_OFFSET] = 0x60
    assert tcp.parse(out) is Malformed.TRUNCATED
    out[tcp.DATA_OFFSET] = 0x50
    for bad in (tcp.FIN, tcp.RST):
        out[tcp.FLAGS] = tcp.SYN | bad
        assert tcp.parse(out) is Malformed.FLAGS


def test_tcp_checksum() -> None:
    segment = bytearray(25)
    tcp.Header(80, 4000, 1, 2, tcp.ACK, 500).emit(segment)
    segment[20:] = b"hello"
    pseudo = checksum.pseudo_header(HERE, THERE, ipv4.TCP, len(segment))
    segment[16:18] = checksum.checksum(segment, pseudo).to_bytes(2, "big")
    assert tcp.verify(segment, HERE, THERE)
    assert not tcp.verify(segment, HERE, THERE + 1)


@given(st.integers(0, 0xFFFF), st.integers(-1, 14))
def test_tcp_options_round_trip(mss: int, wscale: int) -> None:
    data = tcp.Options(mss, wscale).emit()
    assert len(data) % 4 == 0
    assert values(tcp.parse_options(data)) == {"mss": mss, "wscale": wscale}


def test_tcp_options_of_a_linux_syn() -> None:
    parsed = tcp.parse_options(bytes.fromhex("020405b40402080a0102030400000000010303 07".replace(" ", "")))
    assert values(parsed) == {"mss": 1460, "wscale": 7}


@pytest.mark.parametrize(
    ("data", "mss", "wscale"),
    [
        (b"", 0, -1),
        (b"\0\x02\x04\x05\xb4", 0, -1),
        (b"\1\1\1\1", 0, -1),
        (b"\xfe\x06abcd\x02\x04\x01\x00", 256, -1),
        (b"\x03\x03\xff", 0, 14),
    ],
)
def test_tcp_option_lists(data: bytes, mss: int, wscale: int) -> None:
    for kind in (bytes, memoryview):
        assert values(tcp.parse_options(kind(data))) == {"mss": mss, "wscale": wscale}


@pytest.mark.parametrize(
    "data", [b"\x02", b"\x02\0", b"\x02\1", b"\x02\x04\x05", b"\x02\x03\x05", b"\x03\x04\1\1", b"\xfe\x09a"]
)
def test_tcp_malformed_option_lists(data: bytes) -> None:
    assert tcp.parse_options(data) is Malformed.OPTIONS
