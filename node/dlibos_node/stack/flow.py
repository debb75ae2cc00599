"""One TCP connection as the host sees it: its addresses, ready-made header parts, and who it belongs to."""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import checksum, ipv4
from dlibos_node.wire.tcp import Options

# Ethernet and the first two bytes of IPv4 | total length | id 0, DF | TTL 64, TCP | checksum | addresses. With DF the
# id means nothing (RFC 6864 section 4.1).
_FRONT: Final = struct.Struct("!16sHIHH8s")
# Front | ports | seq | ack | offset, flags | window | checksum | urgent pointer 0
_HEADER: Final = struct.Struct("!34sIIIHHHH")
_DF: Final = 0x4000
_TTL_TCP: Final = 0x4006


class Header:
    """Makes the headers of one direction of a 4-tuple. What depends on the length alone is kept: lengths repeat."""

    __slots__ = (
        "_addresses",
        "_front",
        "_length",
        "_link",
        "_ports",
        "_sum",
        "local_port",
        "peer",
        "peer_mac",
        "peer_port",
    )

    def __init__(self, key: int, source_mac: bytes, target_mac: bytes, source: int) -> None:
        self.peer = key >> 32
        self.peer_port = key >> 16 & 0xFFFF
        self.local_port = key & 0xFFFF
        self.peer_mac = target_mac
        self._link = target_mac + source_mac + b"\x08\x00\x45\x00"
        self._addresses = struct.pack("!II", source, self.peer)
        self._ports = self.local_port << 16 | self.peer_port
        self._length = -1  # TCP header and payload of `_front` and `_sum`
        self._front = b""
        self._sum = 0

    def pack(self, segment: Segment) -> bytes:
        """Return all headers of a segment; the TCP checksum holds the pseudo-header's sum (virtio NEEDS_CSUM)."""
        options = segment.options
        length = 20 + len(options) + segment.length
        if length != self._length:
            self._measure(length)
        bits = (20 + len(options)) << 10 | segment.flags
        head = _HEADER.pack(self._front, self._ports, segment.seq, segment.ack, bits, segment.window, self._sum, 0)
        return head + options if options else head

    def _measure(self, length: int) -> None:
        addresses = checksum.add_up(self._addresses)
        self._length = length
        self._sum = checksum.fold(addresses + ipv4.TCP + length)
        check = ~checksum.fold(addresses + 0x4500 + length + 20 + _DF + _TTL_TCP) & 0xFFFF
        self._front = _FRONT.pack(self._link, length + 20, _DF << 16, _TTL_TCP, check, self._addresses)


class Flow:
    """A connection with its 4-tuple. `key` finds it in the table, `handle` names it to the application tile."""

    __slots__ = (
        "app", "armed", "conn", "dead", "earlier", "established", "handle", "header", "key", "owing", "read", "route",
        "sent_by", "ticket", "unread",
    )  # fmt: skip

    def __init__(self, key: int, handle: int, conn: Connection, header: Header, app: int, route: int) -> None:
        self.key = key
        self.handle = handle
        self.conn = conn
        self.header = header
        self.app = app
        self.route = route
        self.established = False
        self.dead = False  # the connection is over; the application has yet to read the rest
        self.armed = NEVER  # the deadline that stands in the host's heap for this flow
        self.unread: deque[Span] = deque()  # what the application has not consumed
        self.read = 0  # bytes of unread[0] it has consumed
        self.owing = 0  # bytes the application was told of and has not consumed
        self.sent_by = route  # the way payload went last, and its ticket there
        self.ticket = 0
        self.earlier: list[tuple[int, int]] = []  # the same of ways it went before, while that may matter

    def on_its_way(self, route: int, ticket: int) -> None:
        """Payload was given out to leave by `route`."""
        if route != self.sent_by:
            self.earlier.append((self.sent_by, self.ticket))
            self.sent_by = route
        self.ticket = ticket

    def unfinished(self) -> list[Span]:
        """Return what the application was told of and has not consumed."""
        spans = list(self.unread)
        if self.read:
            first = spans[0]
            spans[0] = first.part(self.read, first.length - self.read)
        return spans

    @property
    def holds(self) -> int:
        """Number of receive buffers that wait for the application, or for a gap to close."""
        return len(self.unread) + len(self.conn.held)


class Arrival:
    """A TCP segment that belongs to no connection yet, and the frame it came in."""

    __slots__ = ("ack", "flags", "length", "options", "route", "seq", "source_mac", "window")

    def __init__(
        self,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        options: Options | None,
        length: int,
        source_mac: bytes,
        route: int,
    ) -> None:
        self.seq = seq
        self.ack = ack
        self.flags = flags
        self.window = window
        self.options = options
        self.length = length
        self.source_mac = source_mac
        self.route = route
