"""One TCP connection as the host sees it: its addresses, ready-made header parts, and who it belongs to."""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire.tcp import Options

# Ethernet + first two bytes of IPv4 | total length | id 0, DF | TTL 64, TCP | checksum | addresses, ports |
# seq | ack | offset, flags | window | checksum | urgent pointer 0. With DF the id means nothing (RFC 6864 section 4.1).
_HEADER: Final = struct.Struct("!16sHIHH12sIIHHHH")
_DF: Final = 0x4000
_TTL_TCP: Final = 0x4006


class Header:
    """Makes the headers of one direction of a 4-tuple; what never changes is packed and summed once."""

    __slots__ = ("_ends", "_ip_sum", "_link", "_pseudo_sum", "local_port", "peer", "peer_port")

    def __init__(self, key: int, source_mac: bytes, target_mac: bytes, source: int) -> None:
        self.peer = key >> 32
        self.peer_port = key >> 16 & 0xFFFF
        self.local_port = key & 0xFFFF
        self._link = target_mac + source_mac + b"\x08\x00\x45\x00"
        self._ends = struct.pack("!IIHH", source, self.peer, self.local_port, self.peer_port)
        addresses = sum(struct.unpack("!4H", self._ends[:8]))
        self._ip_sum = 0x4500 + _DF + _TTL_TCP + addresses
        self._pseudo_sum = addresses + 6

    def pack(self, segment: Segment) -> bytes:
        """Return all headers of a segment; the TCP checksum holds the pseudo-header's sum (virtio NEEDS_CSUM)."""
        options = segment.options
        tcp_length = 20 + len(options) + segment.length
        ip_sum, pseudo_sum = self._ip_sum + tcp_length + 20, self._pseudo_sum + tcp_length
        ip_sum = (ip_sum & 0xFFFF) + (ip_sum >> 16)  # of a handful of words: twice folded is folded
        pseudo_sum = (pseudo_sum & 0xFFFF) + (pseudo_sum >> 16)
        head = _HEADER.pack(
            self._link,
            tcp_length + 20,
            _DF << 16,
            _TTL_TCP,
            ~((ip_sum & 0xFFFF) + (ip_sum >> 16)) & 0xFFFF,
            self._ends,
            segment.seq,
            segment.ack,
            (20 + len(options)) << 10 | segment.flags,
            segment.window,
            (pseudo_sum & 0xFFFF) + (pseudo_sum >> 16),
            0,
        )
        return head + options if options else head


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
        self.unread: deque[tuple[int, int]] = deque()  # (length, lease) of what the application has not consumed
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
