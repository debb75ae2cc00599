"""UDP (RFC 768) over IPv4."""

from __future__ import annotations

import struct
from typing import Final

from dlibos_node.wire import checksum, ipv4
from dlibos_node.wire.buffer import Buffer
from dlibos_node.wire.malformed import Malformed

LENGTH: Final = 8
CHECKSUM: Final = 6

HEADER: Final = struct.Struct("!HHHH")


class Header:
    """The header of one datagram; `length` counts header and payload, in bytes."""

    __slots__ = ("destination_port", "length", "source_port")

    def __init__(self, source_port: int, destination_port: int, length: int) -> None:
        self.source_port: Final = source_port
        self.destination_port: Final = destination_port
        self.length: Final = length

    def emit(self, source: int, destination: int, payload: Buffer) -> bytes:
        """Return the header with the full checksum for `payload` between the two IPv4 addresses."""
        ports = (self.source_port, self.destination_port, self.length)
        pseudo = checksum.pseudo_header(source, destination, ipv4.UDP, self.length)
        # RFC 768: a computed zero is sent as all ones, because zero means that there is no checksum.
        check = (checksum.gather((HEADER.pack(*ports, 0), payload), pseudo) ^ checksum.WORD) or checksum.WORD
        return HEADER.pack(*ports, check)


def parse(data: Buffer, source: int, destination: int, *, verify: bool = True) -> Header | Malformed:
    """Read the datagram that `data` (the IPv4 payload) begins with, between the two IPv4 addresses."""
    if len(data) < LENGTH:
        return Malformed.TRUNCATED
    source_port, destination_port, length, check = HEADER.unpack_from(data)
    if length < LENGTH:
        return Malformed.TOTAL_LENGTH
    if length > len(data):
        return Malformed.TRUNCATED
    pseudo = checksum.pseudo_header(source, destination, ipv4.UDP, length)
    if verify and check and not checksum.verifies(data[:length], pseudo):
        return Malformed.CHECKSUM
    return Header(source_port, destination_port, length)
