"""Ethernet, ARP, IPv4, ICMP, UDP and TCP: what is emitted is parsed back; what is broken is refused by reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dlibos_node.wire import arp, checksum, ethernet, icmp, ipv4, tcp, udp
from dlibos_node.wire.malformed import Malformed
from hypothesis import given
from hypothesis import strategies as st

MAC = b"\x02\0\0\0\0\x01"
PEER = b"\x02\0\0\0\0\x02"
HERE, THERE = ipv4.address("10.77.0.2"), ipv4.address("10.77.0.1")

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
macs = st.binary(min_size=6, max_size=6).filter(lambda mac: not mac[0] & 1)


def values(thing: object) -> dict[str, object]:
    """Return the public attributes, in the same way of a plain and of a compiled class."""
    named = {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
    return {name: value for name, value in named.items() if not callable(value)}


@given(st.binary(max_size=120), st.integers(0, 30))
def test_no_input_raises(data: bytes, offset: int) -> None:
    parsers: list[Callable[[bytes], object]] = [
        lambda d: ethernet.parse(d, offset),
        lambda d: arp.parse(d, offset),
        lambda d: ipv4.parse(d, offset),
        lambda d: ipv4.parse(memoryview(d), offset, verify=False),
        lambda d: tcp.parse(d, offset),
        tcp.parse_options,
        icmp.parse,
        lambda d: udp.parse(d, HERE, THERE),
        lambda d: udp.parse(d, HERE, THERE, verify=False),
    ]
    for parse in parsers:
        assert parse(data) is not None


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


@given(st.sampled_from([arp.REQUEST, arp.REPLY]), macs, u32, st.binary(min_size=6, max_size=6), u32)
def test_arp_round_trip(operation: int, mac: bytes, sender: int, target_mac: bytes, target: int) -> None:
    packet = arp.Packet(operation, mac, sender, target_mac, target)
    assert values(arp.parse(packet.emit() + bytes(18))) == values(packet)


def test_arp_request_and_reply() -> None:
    question = arp.parse(arp.request(PEER, THERE, HERE).emit())
    assert isinstance(question, arp.Packet)
    answer = question.reply(MAC)
    assert values(answer) == {
        "operation": arp.REPLY,
        "sender_mac": MAC,
        "sender": HERE,
        "target_mac": PEER,
        "target": THERE,
    }


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (1, 6, Malformed.VERSION),
        (2, 0x86, Malformed.VERSION),
        (4, 8, Malformed.VERSION),
        (5, 16, Malformed.VERSION),
        (7, 3, Malformed.FLAGS),
        (8, 0xFF, Malformed.ADDRESS),
    ],
)
def test_arp_refusals(at: int, value: int, reason: Malformed) -> None:
    packet = bytearray(arp.request(MAC, HERE, THERE).emit())
    packet[at] = value
    assert arp.parse(packet) is reason
    assert arp.parse(packet[:27]) is Malformed.TRUNCATED


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


@given(u16, u16, st.binary(max_size=100))
def test_icmp_echo(identifier: int, sequence: int, payload: bytes) -> None:
    request = icmp.parse(icmp.Message(icmp.ECHO_REQUEST, 0, identifier, sequence, payload).emit())
    assert isinstance(request, icmp.Message)
    reply = request.reply()
    assert reply is not None
    assert values(icmp.parse(reply.emit())) == values(reply)
    assert (reply.kind, reply.identifier, reply.sequence, reply.payload) == (0, identifier, sequence, payload)
    assert reply.length == len(reply.emit())
    assert reply.reply() is None


def test_icmp_refusals() -> None:
    assert icmp.parse(bytes(7)) is Malformed.TRUNCATED
    data = bytearray(icmp.Message(icmp.ECHO_REQUEST, 0, 1, 2, b"ping").emit())
    data[9] ^= 1
    assert icmp.parse(data) is Malformed.CHECKSUM


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
