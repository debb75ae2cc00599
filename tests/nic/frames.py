"""Frames for the tests of this room, and a check that a TCP packet is right in every checksum and length."""

from __future__ import annotations

import struct
from collections import deque

from dlibos_node.nic.device import Device
from dlibos_node.nic.memory import MemoryDevice
from dlibos_node.nic.virtio import GSO_TCPV4, HEADER, HEADER_LENGTH, NEEDS_CSUM, PLAIN
from dlibos_node.wire import arp, checksum, ethernet, ipv4, tcp

MESH_MAC, CLIENT_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
MESH, CLIENT = ipv4.address("10.77.0.2"), ipv4.address("10.77.0.1")
SEQ = 0xFFFFFF00  # so that long segments wrap around


def tcp_frame(payload: bytes, *, gso_size: int = 0, flags: int = tcp.ACK | tcp.PSH, ip_options: bytes = b"") -> bytes:
    """A segment with twelve bytes of TCP options and, as virtio has it, a partial checksum."""
    ip_length = ipv4.LENGTH + len(ip_options)
    segment = bytearray(32)
    partial = checksum.pseudo_header(CLIENT, MESH, ipv4.TCP, 32 + len(payload))
    tcp.Header(40000, 80, SEQ, 77, flags, 1000).emit(segment, 0, partial, bytes((1,)) * 12)
    total = ip_length + 32 + len(payload)
    fields = (0x40 | ip_length // 4, 0, total, 0xFFFF, ipv4.DONT_FRAGMENT, 64, ipv4.TCP)
    check = checksum.checksum(ipv4.HEADER.pack(*fields, 0, CLIENT, MESH) + ip_options)
    header = ipv4.HEADER.pack(*fields, check, CLIENT, MESH) + ip_options
    start = ethernet.LENGTH + ip_length
    virtio = HEADER.pack(NEEDS_CSUM, GSO_TCPV4 if gso_size else 0, 200, gso_size, start, tcp.CHECKSUM)
    return virtio + ethernet.HEADER.pack(MESH_MAC, CLIENT_MAC, ethernet.IPV4) + header + segment + payload


def arp_frame() -> bytes:
    header = ethernet.HEADER.pack(ethernet.BROADCAST, CLIENT_MAC, ethernet.ARP)
    return PLAIN + header + arp.request(CLIENT_MAC, CLIENT, MESH).emit()


def numbered(number: int) -> bytes:
    """A small frame that `number_of` tells from others."""
    return tcp_frame(struct.pack("!I", number) + bytes(100))


def number_of(frame: bytes) -> int:
    return int(struct.unpack_from("!I", frame, HEADER_LENGTH + 14 + 20 + 32)[0])


def is_sound(frame: bytes | bytearray) -> bool:
    """Would a receiver that trusts no device accept this frame? Every checksum is complete and right."""
    ip = ipv4.parse(frame, HEADER_LENGTH + ethernet.LENGTH)
    if not isinstance(ip, ipv4.Header) or frame[:HEADER_LENGTH] != PLAIN:
        return False
    start = HEADER_LENGTH + ethernet.LENGTH
    segment = frame[start + ip.header_length : start + ip.total_length]
    return tcp.verify(segment, ip.source, ip.destination)


class Wire(MemoryDevice):
    """A device whose transmitted frames collect in `sent`."""

    def __init__(self) -> None:
        self.sent: deque[bytes] = deque()
        super().__init__(1500, self.sent.append)


def receive(device: Device, size: int = 70000) -> bytes:
    """One frame, read into two buffers of unequal size."""
    first, second = bytearray(64), bytearray(size)
    count = device.receive([memoryview(first), memoryview(second)])
    return bytes(first + second)[:count]
