"""ARP for IPv4 over Ethernet (RFC 826), 28 bytes."""

from __future__ import annotations

import struct
from typing import Final

from dlibos_node.wire import ethernet
from dlibos_node.wire.buffer import Buffer
from dlibos_node.wire.malformed import Malformed

LENGTH: Final = 28
REQUEST: Final = 1
REPLY: Final = 2

_PACKET: Final = struct.Struct("!HHBBH6sI6sI")
_ETHERNET: Final = 1


class Packet:
    """A request or a reply: hardware addresses are 6 bytes, protocol addresses ints."""

    __slots__ = ("operation", "sender", "sender_mac", "target", "target_mac")

    def __init__(self, operation: int, sender_mac: bytes, sender: int, target_mac: bytes, target: int) -> None:
        self.operation: Final = operation
        self.sender_mac: Final = sender_mac
        self.sender: Final = sender
        self.target_mac: Final = target_mac
        self.target: Final = target

    def emit(self) -> bytes:
        """Return LENGTH bytes."""
        return _PACKET.pack(
            _ETHERNET,
            ethernet.IPV4,
            6,
            4,
            self.operation,
            self.sender_mac,
            self.sender,
            self.target_mac,
            self.target,
        )

    def reply(self, mac: bytes) -> Packet:
        """Return the answer of the host that owns `target` and has hardware address `mac`."""
        return Packet(REPLY, mac, self.target, self.sender_mac, self.sender)


def parse(data: Buffer, offset: int = 0) -> Packet | Malformed:
    """Read the packet at `offset`. Bytes after it are padding."""
    if len(data) - offset < LENGTH:
        return Malformed.TRUNCATED
    hardware, protocol, mac_size, address_size, operation, mac, sender, target_mac, target = _PACKET.unpack_from(
        data, offset
    )
    if hardware != _ETHERNET or protocol != ethernet.IPV4 or mac_size != 6 or address_size != 4:
        return Malformed.VERSION
    if operation not in (REQUEST, REPLY):
        return Malformed.FLAGS
    if mac[0] & 1:
        return Malformed.ADDRESS
    return Packet(operation, mac, sender, target_mac, target)


def request(mac: bytes, address: int, wanted: int) -> Packet:
    """Return the question of the host `mac`, `address`: who has `wanted`?"""
    return Packet(REQUEST, mac, address, ethernet.ZERO, wanted)
