"""ARP and echo answers of the in-memory client host."""

from __future__ import annotations

import pytest

from dlibos_node.nic.user.answer import IP, Link, Unwanted, answer
from dlibos_node.nic.virtio import HEADER_LENGTH, PLAIN
from dlibos_node.wire import arp, ethernet, icmp, ipv4
from tests.nic.frames import CLIENT, CLIENT_MAC, MESH, MESH_MAC

LINK = Link(CLIENT, CLIENT_MAC, MESH, MESH_MAC)


def arp_frame(operation: int = arp.REQUEST, target: int = CLIENT, destination: bytes = ethernet.BROADCAST) -> bytes:
    packet = arp.Packet(operation, MESH_MAC, MESH, ethernet.ZERO, target)
    return PLAIN + ethernet.HEADER.pack(destination, MESH_MAC, ethernet.ARP) + packet.emit()


def echo_frame(payload: bytes, *, protocol: int = ipv4.ICMP, kind: int = icmp.ECHO_REQUEST, to: int = CLIENT) -> bytes:
    message = icmp.Message(kind, 0, 7, 1, payload)
    header = bytearray(IP + ipv4.LENGTH)
    ethernet.Header(CLIENT_MAC, MESH_MAC, ethernet.IPV4).emit(header, HEADER_LENGTH)
    ipv4.Header(MESH, to, protocol, ipv4.LENGTH + message.length).emit(header, IP)
    return bytes(header) + message.emit()


def test_arp_request() -> None:
    reply = answer(arp_frame(), LINK)
    assert isinstance(reply, bytes)
    assert reply[:24] == PLAIN + MESH_MAC + CLIENT_MAC + b"\x08\x06"
    packet = arp.parse(reply, IP)
    assert isinstance(packet, arp.Packet)
    assert (packet.operation, packet.sender_mac, packet.sender) == (arp.REPLY, CLIENT_MAC, CLIENT)
    assert (packet.target_mac, packet.target) == (MESH_MAC, MESH)


def test_arp_reply_is_nothing_new() -> None:
    assert answer(arp_frame(arp.REPLY), LINK) is None


def test_echo_request() -> None:
    reply = answer(echo_frame(b"are you there?"), LINK)
    assert isinstance(reply, bytes)
    ip = ipv4.parse(reply, IP)
    assert isinstance(ip, ipv4.Header)
    assert (ip.source, ip.destination) == (CLIENT, MESH)
    message = icmp.parse(reply[IP + ipv4.LENGTH :])
    assert isinstance(message, icmp.Message)
    assert (message.kind, message.identifier, message.payload) == (icmp.ECHO_REPLY, 7, b"are you there?")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (arp_frame(target=MESH + 9), Unwanted.NOT_FOR_US),
        (arp_frame(destination=MESH_MAC), Unwanted.NOT_FOR_US),
        (arp_frame()[:40], Unwanted.MALFORMED),
        (arp_frame()[:20], Unwanted.MALFORMED),
        (echo_frame(b"", to=MESH), Unwanted.NOT_FOR_US),
        (echo_frame(b"", kind=icmp.ECHO_REPLY), Unwanted.PROTOCOL),
        (echo_frame(b"", protocol=ipv4.UDP), Unwanted.PROTOCOL),
        (echo_frame(b"abc")[:-1] + b"d", Unwanted.CHECKSUM),
        (echo_frame(b"abc")[:-1], Unwanted.MALFORMED),
        (PLAIN + ethernet.HEADER.pack(CLIENT_MAC, MESH_MAC, ethernet.IPV6), Unwanted.PROTOCOL),
    ],
)
def test_unwanted(frame: bytes, reason: Unwanted) -> None:
    assert answer(frame, LINK) is reason
