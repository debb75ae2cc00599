"""What the client host says without any application: answers to ARP and to echo requests. Pure."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from dlibos_node.nic.virtio import HEADER_LENGTH, PLAIN
from dlibos_node.wire import arp, ethernet, icmp, ipv4
from dlibos_node.wire.malformed import Malformed

IP: Final = HEADER_LENGTH + ethernet.LENGTH
"""Where the network header of a frame begins."""


class Link(NamedTuple):
    """Who is at the two ends of the wire: IPv4 addresses as ints, MAC addresses as 6 bytes, `mtu` in bytes."""

    address: int
    mac: bytes
    mesh_address: int
    mesh_mac: bytes
    mtu: int = 1500


class Unwanted(enum.Enum):
    """Why the client ignored a frame from the mesh."""

    NOT_FOR_US = "not_for_us"
    PROTOCOL = "protocol"
    MALFORMED = "malformed"
    CHECKSUM = "checksum"
    NO_CONNECTION = "no_connection"


def answer(frame: bytes, link: Link) -> bytes | Unwanted | None:
    """Return the frame to send back, None if nothing is to be said, or why `frame` was unwanted."""
    header = ethernet.parse(frame, HEADER_LENGTH)
    if isinstance(header, Malformed):
        return Unwanted.MALFORMED
    if header.destination not in (link.mac, ethernet.BROADCAST):
        return Unwanted.NOT_FOR_US
    if header.ethertype == ethernet.ARP:
        return _arp(frame, link)
    if header.ethertype == ethernet.IPV4:
        return _ipv4(frame, link)
    return Unwanted.PROTOCOL


def _arp(frame: bytes, link: Link) -> bytes | Unwanted | None:
    packet = arp.parse(frame, IP)
    if isinstance(packet, Malformed):
        return Unwanted.MALFORMED
    if packet.operation != arp.REQUEST:
        return None
    if packet.target != link.address:
        return Unwanted.NOT_FOR_US
    header = ethernet.HEADER.pack(packet.sender_mac, link.mac, ethernet.ARP)
    return PLAIN + header + packet.reply(link.mac).emit()


def _ipv4(frame: bytes, link: Link) -> bytes | Unwanted:
    ip = ipv4.parse(frame, IP)
    if isinstance(ip, Malformed):
        return Unwanted.CHECKSUM if ip is Malformed.CHECKSUM else Unwanted.MALFORMED
    if ip.destination != link.address:
        return Unwanted.NOT_FOR_US
    if ip.protocol != ipv4.ICMP or ip.is_fragment:
        return Unwanted.PROTOCOL
    message = icmp.parse(frame[IP + ip.header_length : IP + ip.total_length])
    if isinstance(message, Malformed):
        return Unwanted.CHECKSUM if message is Malformed.CHECKSUM else Unwanted.MALFORMED
    reply = message.reply()
    if reply is None:
        return Unwanted.PROTOCOL
    header = bytearray(IP + ipv4.LENGTH)
    ethernet.Header(link.mesh_mac, link.mac, ethernet.IPV4).emit(header, HEADER_LENGTH)
    ipv4.Header(link.address, ip.source, ipv4.ICMP, ipv4.LENGTH + reply.length).emit(header, IP)
    return bytes(header) + reply.emit()
