"""The headers of a flow: right for every length, in whatever order lengths come."""

from __future__ import annotations

import struct

import pytest

from dlibos_node.stack.flow import Header
from dlibos_node.tcp.segment import NO_SPANS, Segment
from dlibos_node.wire import checksum, ethernet, ipv4, tcp

OURS, THEIRS = ipv4.address("10.77.0.2"), ipv4.address("10.77.0.1")
OUR_MAC, THEIR_MAC = bytes.fromhex("02d1b0000002"), bytes.fromhex("02d1b0000001")


def segment(length: int, options: bytes = b"") -> Segment:
    return Segment(0xFFFF_FFF0, 7, tcp.ACK | tcp.PSH, 501, options, NO_SPANS, length, 1460)


def check(head: bytes, length: int, options: int) -> None:
    link = ethernet.parse(head)
    assert isinstance(link, ethernet.Header)
    assert (link.source, link.destination, link.ethertype) == (OUR_MAC, THEIR_MAC, ethernet.IPV4)
    packet = head[ethernet.LENGTH :] + bytes(length)
    ip = ipv4.parse(packet)  # its checksum included
    assert isinstance(ip, ipv4.Header)
    assert (ip.source, ip.destination, ip.protocol, ip.total_length) == (OURS, THEIRS, ipv4.TCP, len(packet))
    header = tcp.parse(packet, ipv4.LENGTH)
    assert isinstance(header, tcp.Header)
    assert (header.source_port, header.destination_port) == (80, 50_000)
    assert (header.seq, header.ack, header.window) == (0xFFFF_FFF0, 7, 501)
    assert (header.header_length, header.flags) == (20 + options, tcp.ACK | tcp.PSH)
    (partial,) = struct.unpack_from("!H", packet, ipv4.LENGTH + tcp.CHECKSUM)
    assert partial == checksum.pseudo_header(OURS, THEIRS, ipv4.TCP, len(packet) - ipv4.LENGTH)


@pytest.mark.parametrize("lengths", [(0, 0, 128), (65_000, 0, 65_000), tuple(range(300))])
def test_headers_are_right_whatever_length_came_before(lengths: tuple[int, ...]) -> None:
    header = Header(THEIRS << 32 | 50_000 << 16 | 80, OUR_MAC, THEIR_MAC, OURS)
    for length in lengths:
        check(header.pack(segment(length)), length, 0)
    check(header.pack(segment(0, b"\x02\x04\x05\xb4")), 0, 4)
