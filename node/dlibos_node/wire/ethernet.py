"""Ethernet II frames (RFC 894): 6 bytes destination, 6 bytes source, 2 bytes type. Addresses are 6 bytes."""

from __future__ import annotations

import struct
from typing import Final

from dlibos_node.wire.buffer import Buffer, Writable
from dlibos_node.wire.malformed import Malformed

LENGTH: Final = 14
DESTINATION: Final = 0
SOURCE: Final = 6
TYPE: Final = 12

IPV4: Final = 0x0800
ARP: Final = 0x0806
IPV6: Final = 0x86DD

BROADCAST: Final = b"\xff\xff\xff\xff\xff\xff"
ZERO: Final = b"\x00\x00\x00\x00\x00\x00"

HEADER: Final = struct.Struct("!6s6sH")


class Header:
    """The header of one frame."""

    __slots__ = ("destination", "ethertype", "source")

    def __init__(self, destination: bytes, source: bytes, ethertype: int) -> None:
        self.destination: Final = destination
        self.source: Final = source
        self.ethertype: Final = ethertype

    def emit(self, into: Writable, offset: int = 0) -> None:
        """Write LENGTH bytes at `offset`."""
        HEADER.pack_into(into, offset, self.destination, self.source, self.ethertype)


def parse(data: Buffer, offset: int = 0) -> Header | Malformed:
    """Read the header at `offset`; a group source address is refused (IEEE 802.3 section 3.2.3)."""
    if len(data) - offset < LENGTH:
        return Malformed.TRUNCATED
    destination, source, ethertype = HEADER.unpack_from(data, offset)
    if source[0] & 1:
        return Malformed.ADDRESS
    return Header(destination, source, ethertype)


def is_group(address: bytes) -> bool:
    """Is it a multicast or broadcast address?"""
    return bool(address[0] & 1)


def text(address: bytes) -> str:
    """Return the usual form, as 02:00:00:00:00:01."""
    return address.hex(":")
