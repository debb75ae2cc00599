"""A mesh in one object: reads a device, and serves TCP on a few ports with the passive side of our core."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import cast

from dlibos_node.nic.device import Device
from dlibos_node.nic.user.splice import microseconds
from dlibos_node.nic.virtio import HEADER_LENGTH, MAX_FRAME, NEEDS_CSUM, tcp4_header
from dlibos_node.stack.flow import Header
from dlibos_node.tcp import event
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.reset import reset_for
from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import ethernet, ipv4, tcp
from tests.nic.frames import CLIENT_MAC, MESH, MESH_MAC, is_sound

ECHO, SINK, SOURCE, STUCK, RESET = 7, 9, 19, 20, 21
START = HEADER_LENGTH + ethernet.LENGTH


class Peer:
    """One accepted connection."""

    def __init__(self, connection: Connection, header: Header) -> None:
        self.connection = connection
        self.header = header
        self.received = hashlib.sha256()
        self.count = 0
        self.closed: int | None = None
        self.peer_closed = False


class FakeMesh:
    """Serves `device` while the event loop runs. `source` is what port SOURCE sends; `changed` wakes waiting tests."""

    def __init__(self, device: Device, source: bytes = b"") -> None:
        self.device = device
        self.source = source
        self.peers: dict[int, Peer] = {}
        self.accepted: list[Peer] = []
        self.other: list[bytes] = []
        self.changed = asyncio.Event()
        self.config = TcpConfig(time_wait=1000)
        self._timer: asyncio.TimerHandle | None = None
        self._buffers = [memoryview(bytearray(64)), memoryview(bytearray(MAX_FRAME))]

    def attach(self) -> None:
        """Serve whenever the device is readable or a timer is due."""
        asyncio.get_running_loop().add_reader(self.device.fileno(), self._on_readable)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.device.fileno())
        if self._timer:
            self._timer.cancel()
        self.device.close()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    def poll(self) -> None:
        """Take all frames that wait."""
        first, rest = self._buffers
        while count := self.device.receive(self._buffers):
            self._on_frame(bytes(first[:count]) + bytes(rest[: max(count - 64, 0)]))

    def _on_readable(self) -> None:
        self.poll()
        self.changed.set()
        self._arm()

    def _on_frame(self, frame: bytes) -> None:
        ip = ipv4.parse(frame, START)
        if not isinstance(ip, ipv4.Header) or ip.protocol != ipv4.TCP:
            self.other.append(frame)
            return
        at = START + ip.header_length
        header = tcp.parse(frame, at)
        if not isinstance(header, tcp.Header) or not (frame[0] & NEEDS_CSUM or is_sound(frame)):
            return
        options = tcp.parse_options(frame[at + tcp.LENGTH : at + header.header_length])
        payload = at + header.header_length
        span = Span(frame, payload, len(frame) - payload) if len(frame) > payload else None
        self._on_segment(ip, header, cast(tcp.Options, options), span)

    def _on_segment(self, ip: ipv4.Header, header: tcp.Header, options: tcp.Options, span: Span | None) -> None:
        peer, now = self.peers.get(header.source_port), microseconds()
        if header.flags & tcp.SYN and (peer is None or peer.closed is not None):
            peer = self._accept(ip, header, options, now)
        elif peer is None:
            self._refuse(ip, header)
        else:
            peer.connection.on_segment(header.seq, header.ack, header.flags, header.window, options, span, now)
        if peer:
            self._settle(peer)

    def _accept(self, ip: ipv4.Header, header: tcp.Header, options: tcp.Options, now: int) -> Peer | None:
        if header.destination_port not in (ECHO, SINK, SOURCE, STUCK, RESET):
            self._refuse(ip, header)
            return None
        connection = Connection.passive(self.config, 1000, header.seq, header.window, options, now)
        peer = Peer(connection, self._header(ip, header))
        self.peers[header.source_port] = peer
        self.accepted.append(peer)
        return peer

    def _header(self, ip: ipv4.Header, header: tcp.Header) -> Header:
        key = ip.source << 32 | header.source_port << 16 | header.destination_port
        return Header(key, MESH_MAC, CLIENT_MAC, MESH)

    def _refuse(self, ip: ipv4.Header, header: tcp.Header) -> None:
        answer = reset_for(header.seq, header.ack, header.flags, 0)
        if answer:
            self._emit(self._header(ip, header), answer)

    def _settle(self, peer: Peer) -> None:
        connection = peer.connection
        while connection.outbox or connection.events:
            segments, connection.outbox = connection.outbox, []
            for segment in segments:
                self._emit(peer.header, segment)
            events, connection.events = connection.events, []
            for kind, detail in events:
                self._serve(peer, kind, detail)

    def _serve(self, peer: Peer, kind: int, detail: Span | int | None) -> None:
        connection, port, now = peer.connection, peer.header.local_port, microseconds()
        if isinstance(detail, Span):
            peer.count += detail.length
            peer.received.update(cast(bytes, detail.lease)[detail.offset : detail.offset + detail.length])
            if port == ECHO:
                connection.send(detail, now)
            if port != STUCK:
                connection.consume(detail.length, now)
        elif kind == event.ESTABLISHED and port == SOURCE:
            connection.send(Span(self.source, 0, len(self.source)), now)
            connection.shutdown(now)
        elif kind == event.ESTABLISHED and port == RESET:
            connection.abort(now)
        elif kind == event.PEER_CLOSED:
            peer.peer_closed = True
            connection.shutdown(now)
        elif kind == event.CLOSED:
            peer.closed = cast(int, detail)

    def drain(self, peer: Peer) -> None:
        """Let port STUCK read what it has received."""
        peer.connection.consume(peer.connection.unconsumed, microseconds())
        self._settle(peer)

    def _emit(self, header: Header, segment: Segment) -> None:
        head = header.pack(segment)
        virtio = tcp4_header(True, segment.mss if segment.length > segment.mss else 0, len(head))
        views = [cast(bytes, span.lease)[span.offset : span.offset + span.length] for span in segment.spans]
        self.device.transmit([virtio + head, *views])

    def _arm(self) -> None:
        deadline = min((peer.connection.deadline for peer in self.accepted), default=NEVER)
        if self._timer:
            self._timer.cancel()
        if deadline < NEVER:
            delay = max(deadline - microseconds(), 0) / 1e6
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        for peer in self.accepted:
            peer.connection.on_timer(microseconds())
            self._settle(peer)
        self.changed.set()
        self._arm()
