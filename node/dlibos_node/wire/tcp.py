"""TCP headers and options (RFC 9293 section 3.1; window scale: RFC 7323 section 2)."""

from __future__ import annotations

import struct
from typing import Final

from dlibos_node.wire import checksum, ipv4
from dlibos_node.wire.buffer import Buffer, Writable
from dlibos_node.wire.malformed import Malformed

LENGTH: Final = 20
SOURCE_PORT: Final = 0
DESTINATION_PORT: Final = 2
SEQ: Final = 4
ACK_NUMBER: Final = 8
DATA_OFFSET: Final = 12
FLAGS: Final = 13
WINDOW: Final = 14
CHECKSUM: Final = 16
URGENT: Final = 18

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20
ECE: Final = 0x40
CWR: Final = 0x80

HEADER: Final = struct.Struct("!HHIIBBHHH")

# Option kinds: RFC 9293 section 3.2, RFC 7323 section 2.2.
END: Final = 0
NOP: Final = 1
MSS: Final = 2
WINDOW_SCALE: Final = 3
MAX_WINDOW_SCALE: Final = 14

NO_WINDOW_SCALE: Final = -1
_MSS_OPTION: Final = struct.Struct("!BBH")


class Options:
    """The options of a SYN that this stack knows: `mss` in bytes, 0 if absent; `wscale` as a shift, -1 if absent."""

    __slots__ = ("mss", "wscale")

    def __init__(self, mss: int = 0, wscale: int = NO_WINDOW_SCALE) -> None:
        self.mss = mss
        self.wscale = wscale

    def emit(self) -> bytes:
        """Return the option list, padded to a multiple of 4 bytes."""
        out = _MSS_OPTION.pack(MSS, 4, self.mss) if self.mss else b""
        if self.wscale != NO_WINDOW_SCALE:
            out += bytes((NOP, WINDOW_SCALE, 3, self.wscale))
        return out

    def __repr__(self) -> str:
        return f"Options(mss={self.mss}, wscale={self.wscale})"


NO_OPTIONS: Final = Options()
"""For the SYN that carries none. Not to be written to."""


def parse_options(data: Buffer) -> Options | Malformed:
    """Read an option list. Unknown kinds are skipped; a length that cannot be refuses the whole list."""
    options, at, end = Options(), 0, len(data)
    while at < end:
        kind = data[at]
        if kind == END:
            break
        if kind == NOP:
            at += 1
            continue
        size = data[at + 1] if at + 1 < end else 0
        if size < 2 or at + size > end or not _read_option(options, data, at, kind, size):
            return Malformed.OPTIONS
        at += size
    return options


def _read_option(options: Options, data: Buffer, at: int, kind: int, size: int) -> bool:
    if kind == MSS:
        options.mss = data[at + 2] << 8 | data[at + 3] if size == 4 else 0
        return size == 4
    if kind == WINDOW_SCALE:
        # RFC 7323 section 2.3: a larger shift is used as 14.
        options.wscale = min(data[at + 2], MAX_WINDOW_SCALE) if size == 3 else NO_WINDOW_SCALE
        return size == 3
    return True


class Header:
    """The header of one segment; `header_length` in bytes, options included; `window` as on the wire."""

    __slots__ = ("ack", "destination_port", "flags", "header_length", "seq", "source_port", "window")

    def __init__(
        self,
        source_port: int,
        destination_port: int,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        header_length: int = LENGTH,
    ) -> None:
        self.source_port: Final = source_port
        self.destination_port: Final = destination_port
        self.seq: Final = seq
        self.ack: Final = ack
        self.flags: Final = flags
        self.window: Final = window
        self.header_length: Final = header_length

    def emit(self, into: Writable, offset: int = 0, check: int = 0, options: bytes = b"") -> None:
        """Write the header and `options` (padded to 4 bytes) at `offset`, with `check` in the checksum field."""
        length = LENGTH + len(options)
        HEADER.pack_into(
            into,
            offset,
            self.source_port,
            self.destination_port,
            self.seq,
            self.ack,
            length << 2,
            self.flags,
            self.window,
            check,
            0,
        )
        into[offset + LENGTH : offset + length] = options


def parse(data: Buffer, offset: int = 0) -> Header | Malformed:
    """Read the header at `offset` of a segment that ends where `data` ends. The checksum is `verify`'s affair."""
    available = len(data) - offset
    if available < LENGTH:
        return Malformed.TRUNCATED
    source, destination, seq, ack, data_offset, flags, window, _, _ = HEADER.unpack_from(data, offset)
    length = (data_offset >> 4) * 4
    if length < LENGTH:
        return Malformed.HEADER_LENGTH
    if length > available:
        return Malformed.TRUNCATED
    # No sender means these together; RFC 9293 would take SYN first and lose the other.
    if flags & SYN and flags & (FIN | RST):
        return Malformed.FLAGS
    return Header(source, destination, seq, ack, flags, window, length)


def verify(segment: Buffer, source: int, destination: int) -> bool:
    """Is the checksum of the whole segment, header and payload, right between the two IPv4 addresses?"""
    return checksum.verifies(segment, checksum.pseudo_header(source, destination, ipv4.TCP, len(segment)))
