"""Segmentation and checksums in software, judged by the receiver's own checks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.nic.segment import complete_checksum, wire_packets
from dlibos_node.nic.virtio import HEADER, HEADER_LENGTH, NEEDS_CSUM, PLAIN
from dlibos_node.wire import ethernet, ipv4, tcp
from tests.nic.frames import SEQ, arp_frame, is_sound, tcp_frame

IP = HEADER_LENGTH + ethernet.LENGTH


def parsed(packet: bytearray) -> tuple[ipv4.Header, tcp.Header, bytes]:
    ip = ipv4.parse(packet, IP)
    assert isinstance(ip, ipv4.Header)
    segment = tcp.parse(packet, IP + ip.header_length)
    assert isinstance(segment, tcp.Header)
    return ip, segment, bytes(packet[IP + ip.header_length + segment.header_length :])


@pytest.mark.parametrize("ip_options", [b"", b"\x01" * 8])
@pytest.mark.parametrize("length", [1461, 2920, 10_000, 65_000])
def test_pieces_are_right(length: int, ip_options: bytes) -> None:
    payload = bytes(index * 7 % 251 for index in range(length))
    packets = wire_packets(bytearray(tcp_frame(payload, gso_size=1448, ip_options=ip_options)))
    together = b""
    for index, packet in enumerate(packets):
        complete_checksum(packet)
        assert is_sound(packet)
        ip, segment, part = parsed(packet)
        assert ip.identification == (0xFFFF + index) % 0x10000
        assert ip.total_length == len(packet) - IP <= 1500 + len(ip_options)
        assert segment.seq == (SEQ + len(together)) % (1 << 32)
        together += part
    assert together == payload
    assert {len(parsed(packet)[2]) for packet in packets[:-1]} == {1448}


def test_flags_that_belong_to_one_piece() -> None:
    flags = tcp.ACK | tcp.PSH | tcp.FIN | tcp.CWR
    packets = wire_packets(bytearray(tcp_frame(bytes(3000), gso_size=1448, flags=flags)))
    assert [parsed(packet)[1].flags for packet in packets] == [
        tcp.ACK | tcp.CWR,
        tcp.ACK,
        tcp.ACK | tcp.PSH | tcp.FIN,
    ]


def test_segment_that_fits_is_one_piece() -> None:
    (packet,) = wire_packets(bytearray(tcp_frame(b"x" * 1448, gso_size=1448)))
    assert HEADER.unpack_from(packet)[:2] == (NEEDS_CSUM, 0)
    complete_checksum(packet)
    assert is_sound(packet)


@pytest.mark.parametrize("frame", [arp_frame(), tcp_frame(b"abc"), tcp_frame(bytes(2000), gso_size=1448)[:60]])
def test_other_frames_stay(frame: bytes) -> None:
    assert wire_packets(bytearray(frame)) == [frame]


@given(payload=st.binary(max_size=1460))
def test_completed_checksum(payload: bytes) -> None:
    frame = bytearray(tcp_frame(payload))
    assert not is_sound(frame)
    complete_checksum(frame)
    assert is_sound(frame)


def test_complete_frames_only_lose_their_header() -> None:
    frame = bytearray(arp_frame())
    frame[0] = 2  # DATA_VALID
    complete_checksum(frame)
    assert frame == arp_frame()


def test_udp_checksum_is_never_zero() -> None:
    frame = bytearray(HEADER.pack(NEEDS_CSUM, 0, 0, 0, 0, 6) + b"\xff\xff" + bytes(6))
    complete_checksum(frame)
    assert frame == PLAIN + b"\xff\xff\0\0\0\0\xff\xff"


def test_mutated_segments_raise_nothing() -> None:
    rng = random.Random(11)
    original = tcp_frame(bytes(3000), gso_size=1448, ip_options=b"\x01" * 8)
    cut = 0
    for _ in range(5_000):
        frame = bytearray(original)
        for _ in range(rng.randrange(1, 5)):
            frame[rng.randrange(IP + 60)] = rng.randrange(256)
        packets = wire_packets(frame[: rng.choice((len(frame), rng.randrange(10, len(frame))))])
        cut += len(packets) > 1
        for packet in packets:
            complete_checksum(packet)
    assert 0 < cut < 5_000


@given(header=st.binary(min_size=10, max_size=10), cut=st.integers(10, 80))
def test_nonsense_headers_raise_nothing(header: bytes, cut: int) -> None:
    frame = bytearray(header + tcp_frame(bytes(30))[10:])[:cut]
    packets = wire_packets(bytearray(frame))
    for packet in packets:
        complete_checksum(packet)
        assert packet[:HEADER_LENGTH] == PLAIN
    assert len(packets) >= 1
