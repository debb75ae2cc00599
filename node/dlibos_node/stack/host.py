"""A sans-IO host: takes Ethernet frames where they lie, answers ARP and ICMP echo, and feeds TCP.

Nearly all frames are TCP over IPv4 without IP options: `receive` recognises and reads them with one unpack. Whatever
does not fit that pattern goes the careful way through the codecs of wire/.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import Final

from dlibos_node.stack.buckets import Buckets
from dlibos_node.stack.custody import Custody
from dlibos_node.stack.flow import Arrival
from dlibos_node.stack.flows import Flows
from dlibos_node.stack.interface import Interface
from dlibos_node.stack.ports import Drop, Events, Port
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.span import Span
from dlibos_node.wire import arp, checksum, ethernet, icmp, ipv4
from dlibos_node.wire.malformed import Malformed
from dlibos_node.wire.tcp import parse_options

# Ethernet target, type | IPv4: two numbers of 64 bits, target | ports | seq | ack | offset and flags | window. The two
# numbers hold version and length 8, TOS 8, total length 16, id 16, fragment 16; and TTL 8, protocol 8, checksum 16,
# source 32. They are that large because the Internet checksum may be taken over numbers of any size (wire/checksum.py).
_FRAME: Final = struct.Struct("!6s6xHQQIIIIHH")
_TCP: Final = struct.Struct("!IIIHH")  # ports | seq | ack | offset and flags | window
_LEAST: Final = 54
_IP: Final = 14
_KIND: Final = 0xFF << 56 | ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK
_WHOLE: Final = 0x45 << 56  # version 4, no options; not a fragment
_FLAGS: Final = 0x3F  # FIN to URG; ECE and CWR are not used yet
_REASONS: Final = {
    Malformed.TRUNCATED: Drop.TRUNCATED,
    Malformed.CHECKSUM: Drop.IP_CHECKSUM,
    Malformed.FRAGMENT: Drop.FRAGMENT,
}


class Frame:
    """A received frame: `length` bytes at `offset` of `view`, and what the driver tile said of it.

    `lease` goes back by `Port.release`, once. `verified`: the device vouches for the transport checksum. `answer` is
    False for a copy to learn from, which another host answers. `route` is the driver tile it came from.
    """

    __slots__ = ("answer", "lease", "length", "offset", "route", "verified", "view")

    def __init__(
        self, view: memoryview, offset: int, length: int, lease: int, verified: bool, answer: bool, route: int
    ) -> None:
        self.view = view
        self.offset = offset
        self.length = length
        self.lease = lease
        self.verified = verified
        self.answer = answer
        self.route = route


class Host:
    """One host on the mesh's address. `longest` bounds the answers it copies into one TX buffer (ICMP echo)."""

    def __init__(
        self,
        interface: Interface,
        port: Port,
        upcalls: Events,
        config: TcpConfig,
        *,
        secret: bytes,
        backlog: int,
        longest: int,
        buckets: Buckets | None = None,
        first_handle: int = 0,
        expects: Callable[[int], bool] = lambda port: False,
    ) -> None:
        """`buckets`: what the host answers for; everything unless given. The others: see Flows."""
        self.interface = interface
        self.drops: Counter[Drop] = Counter()
        self.flows = Flows(
            interface,
            port,
            upcalls,
            config,
            secret=secret,
            backlog=backlog,
            drops=self.drops,
            first_handle=first_handle,
            expects=expects,
        )
        self.buckets = buckets or Buckets(0, interface.address, b"")
        self.custody = Custody(self.buckets, port, self.drops)
        self._port = port
        self._longest = longest

    def receive(self, frame: Frame, now: int) -> None:
        """Take one frame; `now` in microseconds."""
        view, offset = frame.view, frame.offset
        if frame.length < _LEAST:
            self._other(frame, now)
            return
        mac, ethertype, first, second, target, ports, seq, ack, bits, window = _FRAME.unpack_from(view, offset)
        if (
            first & _KIND != _WHOLE
            or second >> 48 & 0xFF != ipv4.TCP
            or ethertype != ethernet.IPV4
            or target != self.interface.address
            or mac != self.interface.mac
        ):
            self._other(frame, now)
            return
        total = first >> 32 & 0xFFFF
        if total + _IP > frame.length or total < 40:
            self._drop(frame, Drop.TRUNCATED)
        elif (first + second + target) % 0xFFFF:
            self._drop(frame, Drop.IP_CHECKSUM)
        else:
            key = (second & 0xFFFF_FFFF) << 32 | ports
            self._segment(frame, offset + 34, total - 20, key, seq, ack, bits, window, now)

    def resume(self, frames: list[Frame], now: int) -> None:
        """Take frames that were kept."""
        for frame in frames:
            self.receive(frame, now)

    def _segment(
        self, frame: Frame, at: int, size: int, key: int, seq: int, ack: int, bits: int, window: int, now: int
    ) -> None:
        """Take the segment of `size` >= 20 bytes at `at`; `bits` are its data offset and flags, as on the wire."""
        view, lease = frame.view, frame.lease
        if not frame.verified and not self._sums_up(view[at : at + size], key >> 32):
            self._drop(frame, Drop.TCP_CHECKSUM)
            return
        head = bits >> 10 & 0x3C
        payload = size - head
        options = parse_options(view[at + 20 : at + head]) if head > 20 else None
        if payload < 0 or head < 20 or isinstance(options, Malformed):
            self._drop(frame, Drop.TCP_HEADER)
            return
        flow = self.flows.get(key)
        if flow is not None:
            span = Span(lease, at + head, payload) if payload else None
            self.flows.arrived(flow, seq, ack, bits & _FLAGS, window, options, span, lease, frame.route, now)
        elif not self.buckets.answers(key):
            self.custody.keep(key, frame, now)
        else:
            mac = bytes(view[frame.offset + 6 : frame.offset + 12])
            self.flows.stray(key, Arrival(seq, ack, bits & _FLAGS, window, options, payload, mac, frame.route), now)
            self._port.release(lease)

    def _sums_up(self, segment: memoryview, source: int) -> bool:
        pseudo = checksum.pseudo_header(source, self.interface.address, ipv4.TCP, len(segment))
        return checksum.verifies(segment, pseudo)

    def _drop(self, frame: Frame, reason: Drop) -> None:
        self.drops[reason] += 1
        self._port.release(frame.lease)

    # --- the careful way ----------------------------------------------------------------------------------------

    def _other(self, frame: Frame, now: int) -> None:
        data = frame.view[frame.offset : frame.offset + frame.length]
        link = ethernet.parse(data)
        if isinstance(link, Malformed):
            self._drop(frame, Drop.TRUNCATED if link is Malformed.TRUNCATED else Drop.NOT_FOR_US)
        elif link.destination != self.interface.mac and not ethernet.is_group(link.destination):
            self._drop(frame, Drop.NOT_FOR_US)
        elif link.ethertype == ethernet.ARP:
            self._arp(frame, data[ethernet.LENGTH :])
        elif link.ethertype == ethernet.IPV4:
            self._ipv4(frame, data[ethernet.LENGTH :], link, now)
        else:
            self._drop(frame, Drop.ETHERTYPE)

    def _arp(self, frame: Frame, data: memoryview) -> None:
        packet = arp.parse(data)
        if isinstance(packet, Malformed):
            self._drop(frame, Drop.ARP)
            return
        if packet.operation == arp.REQUEST and packet.target == self.interface.address and frame.answer:
            mac = self.interface.mac
            head = ethernet.HEADER.pack(packet.sender_mac, mac, ethernet.ARP)
            self._port.transmit(frame.route, head + packet.reply(mac).emit(), (), 0)
        self._port.release(frame.lease)

    def _ipv4(self, frame: Frame, packet: memoryview, link: ethernet.Header, now: int) -> None:
        head = ipv4.parse(packet)
        if isinstance(head, Malformed):
            self._drop(frame, _REASONS.get(head, Drop.IP_HEADER))
        elif head.destination != self.interface.address or ethernet.is_group(link.destination):
            self._drop(frame, Drop.NOT_FOR_US)
        elif head.is_fragment:
            self._drop(frame, Drop.FRAGMENT)
        elif head.protocol == ipv4.ICMP:
            self._icmp(frame, packet[head.header_length : head.total_length], link, head)
        elif head.protocol != ipv4.TCP:
            self._drop(frame, Drop.PROTOCOL)
        elif head.total_length - head.header_length < 20:
            self._drop(frame, Drop.TCP_HEADER)
        else:
            at = frame.offset + ethernet.LENGTH + head.header_length
            size, key = head.total_length - head.header_length, head.source << 32
            ports, seq, ack, bits, window = _TCP.unpack_from(frame.view, at)
            self._segment(frame, at, size, key | ports, seq, ack, bits, window, now)

    def _icmp(self, frame: Frame, body: memoryview, link: ethernet.Header, head: ipv4.Header) -> None:
        """Answer an echo request (RFC 1122 section 3.2.2.6) to where it came from."""
        message = icmp.parse(body)
        reply = message.reply() if not isinstance(message, Malformed) else None
        if reply is None:
            self._drop(frame, Drop.ICMP)
            return
        if ethernet.LENGTH + ipv4.LENGTH + reply.length > self._longest:
            self._drop(frame, Drop.TOO_LONG)
            return
        front = bytearray(ethernet.LENGTH + ipv4.LENGTH)
        ethernet.Header(link.source, self.interface.mac, ethernet.IPV4).emit(front)
        answer = ipv4.Header(head.destination, head.source, ipv4.ICMP, ipv4.LENGTH + reply.length)
        answer.emit(front, ethernet.LENGTH)
        self._port.transmit(frame.route, bytes(front) + reply.emit(), (), 0)
        self._port.release(frame.lease)
