"""The far end of the in-memory wire: a small client host with one peer, the mesh.

It opens TCP connections with the same core the mesh runs, and answers ARP and echo requests (answer.py). Sans-IO:
frames go out by `deliver`, `now` comes in, and `wake` is called when a timer is due earlier than any before.
"""

from __future__ import annotations

import heapq
import secrets
import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from dlibos_node.nic.user.answer import IP, Link, Unwanted, answer
from dlibos_node.nic.virtio import DATA_VALID, NEEDS_CSUM, tcp4_header
from dlibos_node.stack.flow import Header
from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import SECOND, TcpConfig
from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.reset import reset_for
from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import checksum, ethernet, ipv4, seqnum, tcp
from dlibos_node.wire.buffer import Buffer
from dlibos_node.wire.malformed import Malformed

_TCP: Final = IP + ipv4.LENGTH
_LEAST: Final = _TCP + tcp.LENGTH
# Ethernet target, type | version, total length, fragment, protocol, addresses | ports, seq, ack, offset+flags, window
_FRAME: Final = struct.Struct("!10x6s6xHBxH2xHxB2xIIHHIIHH")
_FRAGMENT: Final = ipv4.MORE_FRAGMENTS | ipv4.OFFSET_MASK
_FLAGS: Final = 0x3F  # FIN to URG

# Nothing on this wire is ever late by more than a moment, so an old port may soon be used again.
_TIME_WAIT: Final = SECOND
# A new connection on an old port starts this far beyond the last one's end: the mesh, which may still be in TIME-WAIT,
# takes its SYN for a new one (RFC 9293 section 3.6.1).
_ISS_STEP: Final = 1 << 20


class Handler(Protocol):
    """Who uses a flow. Called from inside `Client.settle`; may call the flow's connection, but not `settle`."""

    def received(self, data: memoryview, now: int) -> None:
        """Bytes in order. They count as unread until `connection.consume`."""

    def acknowledged(self) -> None:
        """Some of what was sent has arrived."""

    def peer_closed(self) -> None:
        """The mesh will send no more."""

    def closed(self, reason: int) -> None:
        """It is over (tcp.event reasons); nothing follows."""


class Flow:
    """One connection from `port` of the client to a port of the mesh."""

    __slots__ = ("armed", "connection", "handler", "header", "port")

    def __init__(self, port: int, connection: Connection, header: Header, handler: Handler) -> None:
        self.port: Final = port
        self.connection: Final = connection
        self.header: Final = header
        self.handler: Final = handler
        self.armed = NEVER  # its earliest entry in the client's heap


class Client:
    """A host whose connections use the local ports `ports`; frames to the mesh go to `deliver`, part by part.

    The caller serves timers: `wake(deadline)` asks for a call of `on_timer` at `deadline` (microseconds, as `now`).
    """

    def __init__(
        self,
        link: Link,
        ports: Sequence[int],
        deliver: Callable[[Sequence[Buffer]], object],
        wake: Callable[[int], object],
    ) -> None:
        self.unwanted: Counter[Unwanted] = Counter()
        self._link: Final = link
        self._config: Final = TcpConfig(mss=link.mtu - 40, time_wait=_TIME_WAIT)
        self._deliver: Final = deliver
        self._wake: Final = wake
        self._ports: Final = frozenset(ports)
        self._free: Final = deque(ports)  # the one that rested longest first
        self._iss: Final[dict[int, int]] = {}
        self._flows: Final[dict[int, Flow]] = {}
        self._timers: Final[list[tuple[int, int]]] = []

    @property
    def idle(self) -> bool:
        """Whether every connection is over, but for what waits in TIME-WAIT."""
        return all(flow.connection.state == state.TIME_WAIT for flow in self._flows.values())

    def connect(self, mesh_port: int, handler: Handler, now: int) -> Flow | None:
        """Open a connection; what happens to it goes to `handler`. None when all ports are in use."""
        if not self._free:
            return None
        port = self._free.popleft()
        iss = self._iss.pop(port, None)
        connection = Connection.active(self._config, secrets.randbits(32) if iss is None else iss, now)
        flow = Flow(port, connection, self._header(mesh_port, port), handler)
        self._flows[port] = flow
        self.settle(flow, now)
        return flow

    def settle(self, flow: Flow, now: int) -> None:
        """Take what a call of `flow.connection` left behind. Due after every such call from outside."""
        connection = flow.connection
        while connection.outbox or connection.events:
            segments, connection.outbox = connection.outbox, []
            for segment in segments:
                self._emit(flow.header, segment)
            events, connection.events = connection.events, []
            for kind, detail in events:
                _dispatch(flow, kind, detail, now)
        connection.released.clear()
        if connection.state == state.CLOSED:
            self._forget(flow)
        elif connection.deadline < flow.armed:
            self._arm(flow, connection.deadline)

    def abort(self, now: int) -> None:
        """Reset all connections; new ones are refused."""
        for flow in list(self._flows.values()):
            flow.connection.abort(now)
            self.settle(flow, now)
        self._free.clear()

    def on_timer(self, now: int) -> None:
        """Run what is due, and ask to be woken for what comes next."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            deadline, port = heapq.heappop(timers)
            flow = self._flows.get(port)
            if flow is None or flow.armed != deadline:
                continue  # of an earlier connection on this port, or overtaken by an earlier deadline
            flow.armed = NEVER
            if flow.connection.deadline <= now:
                flow.connection.on_timer(now)
            self.settle(flow, now)
        if timers:
            self._wake(timers[0][0])

    def on_frame(self, frame: bytes, now: int) -> None:
        """Take one frame from the mesh, virtio header first."""
        if len(frame) < _LEAST:
            self._on_other(frame)
            return
        (mac, ethertype, version, total, fragment, protocol, source, target,
         mesh_port, port, seq, ack, bits, window) = _FRAME.unpack_from(frame)  # fmt: skip
        link = self._link
        if protocol != ipv4.TCP or ethertype != ethernet.IPV4 or mac != link.mac:
            self._on_other(frame)
        elif target != link.address or source != link.mesh_address:
            self.unwanted[Unwanted.NOT_FOR_US] += 1
        elif version != 0x45 or fragment & _FRAGMENT or not 40 <= total <= len(frame) - IP:
            self.unwanted[Unwanted.MALFORMED] += 1
        elif not self._sums_up(frame, IP + total):
            self.unwanted[Unwanted.CHECKSUM] += 1
        else:
            payload = _TCP + (bits >> 10 & 0x3C)
            flow = self._flows.get(port)
            options = tcp.parse_options(frame[_LEAST:payload]) if payload > _LEAST else None
            if payload < _LEAST or payload > IP + total or isinstance(options, Malformed):
                self.unwanted[Unwanted.MALFORMED] += 1
            elif flow is None or flow.header.peer_port != mesh_port:
                self._refuse(mesh_port, port, seq, ack, bits & _FLAGS, IP + total - payload)
            else:
                length = IP + total - payload
                span = Span(frame, payload, length) if length else None
                flow.connection.on_segment(seq, ack, bits & _FLAGS, window, options, span, now)
                self.settle(flow, now)

    def _sums_up(self, frame: bytes, end: int) -> bool:
        """Check the sums of IPv4 and, where the sender has not left it to the device, of TCP."""
        if not checksum.verifies(frame[IP:_TCP]):
            return False
        if frame[0] & (NEEDS_CSUM | DATA_VALID):
            return True
        return tcp.verify(frame[_TCP:end], self._link.mesh_address, self._link.address)

    def _on_other(self, frame: bytes) -> None:
        """Take what is no TCP segment."""
        reply = answer(frame, self._link)
        if isinstance(reply, Unwanted):
            self.unwanted[reply] += 1
        elif reply is not None:
            self._deliver((reply,))

    def _refuse(self, mesh_port: int, port: int, seq: int, ack: int, flags: int, length: int) -> None:
        """Answer a segment that no connection expects, unless its port is another driver's."""
        self.unwanted[Unwanted.NO_CONNECTION] += 1
        reset = reset_for(seq, ack, flags, length) if port in self._ports else None
        if reset is not None:
            self._emit(self._header(mesh_port, port), reset)

    def _header(self, mesh_port: int, port: int) -> Header:
        link = self._link
        return Header(link.mesh_address << 32 | mesh_port << 16 | port, link.mac, link.mesh_mac, link.address)

    def _emit(self, header: Header, segment: Segment) -> None:
        """Send a segment with everything left to the device: here nobody ever sums it or cuts it."""
        head = header.pack(segment)
        virtio = tcp4_header(True, segment.mss if segment.length > segment.mss else 0, len(head))
        self._deliver((virtio + head, *map(_view, segment.spans)))

    def _arm(self, flow: Flow, deadline: int) -> None:
        flow.armed = deadline
        heapq.heappush(self._timers, (deadline, flow.port))
        if self._timers[0][0] == deadline:
            self._wake(deadline)

    def _forget(self, flow: Flow) -> None:
        if self._flows.pop(flow.port, None) is not None:
            self._iss[flow.port] = seqnum.add(flow.connection.snd_max, _ISS_STEP)
            self._free.append(flow.port)


def _view(span: Span) -> memoryview:
    """Return the bytes a span of this host names: its leases are bytes objects."""
    return memoryview(cast(bytes, span.lease))[span.offset : span.offset + span.length]


def _dispatch(flow: Flow, kind: int, detail: Span | int | None, now: int) -> None:
    if isinstance(detail, Span):
        flow.handler.received(_view(detail), now)
    elif kind == event.ACKED:
        flow.handler.acknowledged()
    elif kind == event.PEER_CLOSED:
        flow.handler.peer_closed()
    elif kind == event.CLOSED and isinstance(detail, int):
        flow.handler.closed(detail)
