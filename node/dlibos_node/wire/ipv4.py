"""IPv4 headers (RFC 791). Addresses are ints; options are skipped, and never sent."""

from __future__ import annotations

import struct
from typing import Final

from dlibos_node.wire import checksum
from dlibos_node.wire.buffer import Buffer, Writable
from dlibos_node.wire.malformed import Malformed

LENGTH: Final = 20
VERSION_IHL: Final = 0
TOTAL_LENGTH: Final = 2
FRAGMENT: Final = 6
TTL: Final = 8
PROTOCOL: Final = 9
CHECKSUM: Final = 10
SOURCE: Final = 12
DESTINATION: Final = 16

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17

DONT_FRAGMENT: Final = 0x4000
MORE_FRAGMENTS: Final = 0x2000
OFFSET_MASK: Final = 0x1FFF
# RFC 1700 "IP time to live": the recommended default.
DEFAULT_TTL: Final = 64

HEADER: Final = struct.Struct("!BBHHHBBHII")


class Header:
    """The header of one datagram; lengths in bytes."""

    __slots__ = (
        "destination",
        "fragment",
        "header_length",
        "identification",
        "protocol",
        "source",
        "tos",
        "total_length",
        "ttl",
    )

    def __init__(
        self,
        source: int,
        destination: int,
        protocol: int,
        total_length: int,
        *,
        identification: int = 0,
        fragment: int = DONT_FRAGMENT,
        ttl: int = DEFAULT_TTL,
        tos: int = 0,
        header_length: int = LENGTH,
    ) -> None:
        self.source: Final = source
        self.destination: Final = destination
        self.protocol: Final = protocol
        self.total_length: Final = total_length
        self.identification: Final = identification
        self.fragment: Final = fragment
        self.ttl: Final = ttl
        self.tos: Final = tos
        self.header_length: Final = header_length

    @property
    def is_fragment(self) -> bool:
        """Is this less than a whole datagram?"""
        return self.fragment & (MORE_FRAGMENTS | OFFSET_MASK) != 0

    def emit(self, into: Writable, offset: int = 0) -> None:
        """Write LENGTH bytes at `offset`, with their checksum, and no options."""
        fields = (0x45, self.tos, self.total_length, self.identification, self.fragment, self.ttl, self.protocol)
        check = checksum.checksum(HEADER.pack(*fields, 0, self.source, self.destination))
        HEADER.pack_into(into, offset, *fields, check, self.source, self.destination)


def parse(data: Buffer, offset: int = 0, *, verify: bool = True) -> Header | Malformed:
    """Read the header at `offset`; `verify=False` skips the checksum (a device has done it).

    The datagram may be followed by padding, never cut short.
    """
    available = len(data) - offset
    if available < LENGTH:
        return Malformed.TRUNCATED
    first, tos, total, identification, fragment, ttl, protocol, _, source, destination = HEADER.unpack_from(
        data, offset
    )
    length = (first & 0x0F) * 4
    reason = _lengths(first >> 4, length, total, available, fragment)
    if reason is not None:
        return reason
    if verify and not checksum.verifies(data[offset : offset + length]):
        return Malformed.CHECKSUM
    return Header(
        source,
        destination,
        protocol,
        total,
        identification=identification,
        fragment=fragment,
        ttl=ttl,
        tos=tos,
        header_length=length,
    )


def _lengths(version: int, length: int, total: int, available: int, fragment: int) -> Malformed | None:
    if version != 4:
        return Malformed.VERSION
    if length < LENGTH:
        return Malformed.HEADER_LENGTH
    if total < length:
        return Malformed.TOTAL_LENGTH
    if total > available:
        return Malformed.TRUNCATED
    return _fragment(fragment, total - length)


def _fragment(fragment: int, payload: int) -> Malformed | None:
    # RFC 791 section 3.2: all but the last fragment carry a multiple of 8 bytes; the whole stays below 64 KiB.
    more = bool(fragment & MORE_FRAGMENTS)
    end = (fragment & OFFSET_MASK) * 8 + payload
    if end > 0xFFFF or (more and (payload % 8 or not payload or fragment & DONT_FRAGMENT)):
        return Malformed.FRAGMENT
    return None


def header_checksum(header: Buffer) -> int:
    """Return the checksum of a header whose checksum field is zero."""
    return checksum.checksum(header)


def address(text: str) -> int:
    """Read dotted-decimal text; ValueError says what is wrong with it."""
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts):
        raise ValueError(f"{text!r} is not an IPv4 address: write four numbers of 0 to 255, as 10.77.0.2")
    return int.from_bytes(bytes(int(part) for part in parts), "big")


def text(address: int) -> str:
    """Return the dotted-decimal form."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"
