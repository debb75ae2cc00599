"""What the host takes for an ordinary segment, and by which reason it drops the others."""

from __future__ import annotations

import struct

import pytest

from dlibos_node.nic import virtio
from dlibos_node.stack.ports import Drop
from dlibos_node.wire import checksum, ethernet, ipv4, tcp
from tests.support.applications import EchoServer
from tests.support.chip import ADDRESS, MAC, Chip

CLIENT, CLIENT_MAC = ipv4.address("10.77.0.1"), bytes.fromhex("02d1b0000001")
IP = ethernet.LENGTH


def syn(**changed: int) -> bytearray:
    """A SYN behind its Ethernet header; `changed` are fields of the IPv4 header, whose checksum stays right."""
    fields = {"first": 0x45, "total": 40, "fragment": ipv4.DONT_FRAGMENT, "protocol": ipv4.TCP, "target": ADDRESS}
    fields |= changed
    head = [fields["first"], 0, fields["total"], 0, fields["fragment"], 64, fields["protocol"], 0, CLIENT]
    packed = ipv4.HEADER.pack(*head, fields["target"])
    head[7] = checksum.checksum(packed + bytes(4 * ((fields["first"] & 15) - 5)))
    segment = bytearray(tcp.LENGTH)
    tcp.Header(50_000, 80, 1, 0, tcp.SYN, 500).emit(segment)
    options = bytes(4 * max((fields["first"] & 15) - 5, 0))
    packet = ipv4.HEADER.pack(*head, fields["target"]) + options + segment
    return bytearray(ethernet.HEADER.pack(MAC, CLIENT_MAC, ethernet.IPV4) + packet)


def drops(*frames: bytearray) -> tuple[dict[Drop, int], int]:
    """Let a chip receive frames the device vouches for; return what was dropped and how many frames came back."""
    chip = Chip(EchoServer().accept)
    for frame in frames:
        chip.deliver(virtio.tcp4_header(True, 0, 54) + bytes(frame))
        chip.run()
    return dict(chip.stacks[0].host.drops), len(chip.transmitted())


def test_an_ordinary_segment_and_one_with_ip_options_pass() -> None:
    assert drops(syn()) == ({}, 1)
    assert drops(syn(first=0x46, total=44)) == ({}, 1)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"total": 39}, Drop.TRUNCATED),
        ({"total": 41}, Drop.TRUNCATED),
        ({"fragment": ipv4.MORE_FRAGMENTS, "total": 36}, Drop.FRAGMENT),
        ({"fragment": 1}, Drop.FRAGMENT),
        ({"protocol": ipv4.UDP}, Drop.PROTOCOL),
        ({"target": ADDRESS + 1}, Drop.NOT_FOR_US),
        ({"first": 0x65}, Drop.IP_HEADER),
    ],
)
def test_what_is_no_segment_of_ours_is_dropped_by_its_reason(changed: dict[str, int], reason: Drop) -> None:
    assert drops(syn(**changed)) == ({reason: 1}, 0)


def test_no_bit_of_the_ip_header_can_change_unnoticed() -> None:
    frames = []
    for bit in range(8 * ipv4.LENGTH):
        frame = syn()
        frame[IP + bit // 8] ^= 1 << bit % 8
        frames.append(frame)
    dropped, answered = drops(*frames)
    assert (sum(dropped.values()), answered) == (len(frames), 0)


def test_a_bad_ip_checksum_is_named() -> None:
    frame = syn()
    struct.pack_into("!H", frame, IP + ipv4.CHECKSUM, 0xDEAD)
    assert drops(frame) == ({Drop.IP_CHECKSUM: 1}, 0)
