"""IPv4 headers, fragments and addresses: what is emitted is parsed back; what is broken is refused by reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.wire import ipv4
from dlibos_node.wire.malformed import Malformed
from tests.wire.samples import HERE, THERE, u8, u16, u32, values


def datagram(total: int = 60, fragment: int = ipv4.DONT_FRAGMENT) -> bytearray:
    out = bytearray(total)
    ipv4.Header(HERE, THERE, ipv4.TCP, total, fragment=fragment).emit(out)
    return out


def with_checksum(data: bytearray) -> bytearray:
    length = max((data[0] & 15) * 4, 20)
    data[10:12] = b"\0\0"
    data[10:12] = ipv4.header_checksum(data[:length]).to_bytes(2, "big")
    return data


@given(u32, u32, u8, st.integers(20, 1500), u16, u8, u8)
def test_ipv4_round_trip(
    source: int, destination: int, protocol: int, total: int, identification: int, ttl: int, tos: int
) -> None:
    header = ipv4.Header(source, destination, protocol, total, identification=identification, ttl=ttl, tos=tos)
    out = bytearray(total + 7)
    header.emit(out, 4)
    assert values(ipv4.parse(out, 4)) == values(header)


def test_ipv4_options_are_skipped_and_padding_is_allowed() -> None:
    data = datagram()
    data[0] = 0x46
    data[20:24] = b"\x01\x01\x01\0"
    parsed = ipv4.parse(with_checksum(data) + bytes(6))
    assert isinstance(parsed, ipv4.Header)
    assert (parsed.header_length, parsed.total_length) == (24, 60)


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, 0x65, Malformed.VERSION),
        (0, 0x44, Malformed.HEADER_LENGTH),
        (3, 19, Malformed.TOTAL_LENGTH),
        (3, 61, Malformed.TRUNCATED),
        (2, 0xFF, Malformed.TRUNCATED),
    ],
)
def test_ipv4_refusals(at: int, value: int, reason: Malformed) -> None:
    data = datagram()
    data[at] = value
    assert ipv4.parse(with_checksum(data)) is reason


def test_ipv4_truncated_and_bad_checksum() -> None:
    data = datagram()
    assert ipv4.parse(data[:19]) is Malformed.TRUNCATED
    data[8] ^= 1
    assert ipv4.parse(data) is Malformed.CHECKSUM
    assert isinstance(ipv4.parse(data, verify=False), ipv4.Header)


@pytest.mark.parametrize(
    ("total", "fragment", "good"),
    [
        (60, ipv4.MORE_FRAGMENTS, True),
        (61, ipv4.MORE_FRAGMENTS, False),
        (61, 5, True),
        (20, ipv4.MORE_FRAGMENTS, False),
        (60, 0x1FFF, False),
        (60, ipv4.MORE_FRAGMENTS | ipv4.DONT_FRAGMENT, False),
        (60, ipv4.DONT_FRAGMENT, True),
    ],
)
def test_ipv4_fragments(total: int, fragment: int, good: bool) -> None:
    parsed = ipv4.parse(datagram(total, fragment))
    if good:
        assert isinstance(parsed, ipv4.Header)
        assert parsed.is_fragment == (fragment != ipv4.DONT_FRAGMENT)
    else:
        assert parsed is Malformed.FRAGMENT


@given(u32)
def test_ipv4_address_text_round_trip(address: int) -> None:
    assert ipv4.address(ipv4.text(address)) == address


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "10.0.0.-1", "a.b.c.d", "10.0.0.0.1", "10.0.0.¹"])
def test_ipv4_address_text_is_checked(text: str) -> None:
    with pytest.raises(ValueError, match="not an IPv4 address"):
        ipv4.address(text)
