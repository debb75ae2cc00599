"""Two connections joined by a wire that loses, reorders and duplicates, with a manual clock and real bytes.

The harness plays both owners: it gives spans to `send`, takes events, consumes, returns leases, cuts super-segments
into MSS pieces as a device would, and checks after every call what must always hold.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.segment import MAX_SPANS, Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.malformed import Malformed
from dlibos_node.wire.tcp import ACK, FIN, RST, SYN, Options, parse_options

MILLISECOND = 1_000


class Wire:
    """What happens to a packet: lost, sent twice, or late by up to `jitter` microseconds (so also out of order)."""

    def __init__(self, seed: int = 0, loss: float = 0.0, duplicate: float = 0.0, jitter: int = 0) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.duplicate = duplicate
        self.jitter = jitter
        self.delay = 5 * MILLISECOND

    def arrivals(self, now: int) -> list[int]:
        """Return the times at which copies of a packet sent now arrive."""
        copies = 1 + (self.random.random() < self.duplicate)
        return [self._arrival(now) for _ in range(copies) if self.random.random() >= self.loss]

    def _arrival(self, now: int) -> int:
        return now + self.delay + (self.random.randrange(self.jitter) if self.jitter else 0)


class Lease:
    """The payload of one received packet; counts how often it came back."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.returned = 0


def payload(spans: tuple[Span, ...] | list[Span]) -> bytes:
    """Return the bytes that spans over `bytes` or `Lease` name."""
    out = []
    for span in spans:
        data = span.lease.data if isinstance(span.lease, Lease) else span.lease
        assert isinstance(data, bytes)
        assert span.offset >= 0
        assert span.length > 0
        assert span.offset + span.length <= len(data)
        out.append(data[span.offset : span.offset + span.length])
    return b"".join(out)


class Host:
    """The owner of one connection."""

    def __init__(self, data: bytes, chunk: int, appetite: Callable[[], int] | None = None) -> None:
        self.connection: Connection | None = None
        self.config = TcpConfig()
        self.data = data
        self.queued = 0
        self.acked = 0
        self.chunk = chunk
        self.appetite = appetite
        self.received = bytearray()
        self.unconsumed = 0
        self.leases: list[Lease] = []
        self.log: list[tuple[int, object]] = []
        self.keep_open = False
        self.right_edge: int | None = None

    def names(self) -> list[str]:
        """Return the kinds of all events but DATA and ACKED."""
        return [event.NAMES[kind] for kind, _ in self.log if kind not in (event.DATA, event.ACKED)]

    def outstanding(self) -> list[Lease]:
        return [lease for lease in self.leases if lease.returned == 0]


class Pair:
    """A client and a server, and the wire between them."""

    def __init__(
        self,
        client: Host,
        server: Host,
        wire: Wire,
        client_config: TcpConfig | None = None,
        server_config: TcpConfig | None = None,
    ) -> None:
        self.hosts = (client, server)
        self.wire = wire
        self.now = 1_000_000
        self.order = 0
        self.flying: list[tuple[int, int, int, Segment, bytes]] = []
        client.config = client_config or TcpConfig()
        server.config = server_config or TcpConfig()
        client.connection = Connection.active(client.config, wire.random.getrandbits(32), self.now)
        self.packets = 0
        self.settle(0)

    def run(self, limit: int = 3_600_000_000) -> None:
        """Let time pass until nothing can happen any more."""
        end = self.now + limit
        while self.now <= end:
            due = [self.flying[0][0]] if self.flying else []
            due += [host.connection.deadline for host in self.hosts if host.connection]
            at = min(due)
            if at == NEVER:
                return
            self.now = max(self.now, at)
            self.step()
        raise AssertionError(f"not finished after {limit} us: {self.hosts[0].log[-3:]} {self.hosts[1].log[-3:]}")

    def step(self) -> None:
        for index, host in enumerate(self.hosts):
            if host.connection and host.connection.deadline <= self.now:
                host.connection.on_timer(self.now)
                assert host.connection.deadline > self.now
                self.settle(index)
        while self.flying and self.flying[0][0] <= self.now:
            _, _, index, segment, data = heapq.heappop(self.flying)
            self.deliver(index, segment, data)

    def deliver(self, index: int, segment: Segment, data: bytes) -> None:
        host = self.hosts[index]
        options = parse_options(segment.options)
        assert not isinstance(options, Malformed)
        if host.connection is None:
            if segment.flags & (SYN | RST) == SYN:
                host.connection = Connection.passive(
                    host.config, self.wire.random.getrandbits(32), segment.seq, segment.window, options, self.now
                )
        else:
            self.receive(host, segment, data, options)
        self.settle(index)

    def receive(self, host: Host, segment: Segment, data: bytes, options: Options) -> None:
        span = None
        if data:
            lease = Lease(b"??" + data)
            host.leases.append(lease)
            span = Span(lease, 2, len(data))
        assert host.connection is not None
        host.connection.on_segment(segment.seq, segment.ack, segment.flags, segment.window, options, span, self.now)

    def settle(self, index: int) -> None:
        """Take what a call left, act as the application, send what there is."""
        host = self.hosts[index]
        connection = host.connection
        if connection is None:
            return
        self.take(host, connection)
        self.act(host, connection)
        self.take(host, connection)
        for segment in connection.outbox:
            self.transmit(index, host, connection, segment)
        connection.outbox.clear()
        check(host, connection)

    def act(self, host: Host, connection: Connection) -> None:
        if connection.state in (state.CLOSED, state.TIME_WAIT):
            return
        while host.queued < len(host.data) and connection.send_room > 0 and not connection.closing:
            piece = host.data[host.queued : host.queued + host.chunk]
            host.queued += len(piece)
            connection.send(Span(piece, 0, len(piece)), self.now)
        if host.queued == len(host.data) and not host.keep_open:
            connection.shutdown(self.now)
        eat = min(host.unconsumed, host.appetite()) if host.appetite else host.unconsumed
        if eat:
            host.unconsumed -= eat
            connection.consume(eat, self.now)

    def take(self, host: Host, connection: Connection) -> None:
        for kind, detail in connection.events:
            host.log.append((kind, detail))
            if isinstance(detail, Span):
                assert kind == event.DATA
                assert isinstance(detail.lease, Lease)
                detail.lease.returned += 1
                host.received += payload([detail])
                host.unconsumed += detail.length
            elif kind == event.ACKED:
                assert detail
                host.acked += detail
        connection.events.clear()
        for span in connection.released:
            assert isinstance(span.lease, Lease)
            span.lease.returned += 1
        connection.released.clear()

    def transmit(self, index: int, host: Host, connection: Connection, segment: Segment) -> None:
        data = payload(segment.spans)
        assert len(data) == segment.length
        assert len(segment.spans) <= MAX_SPANS
        check_window(host, connection, segment)
        for part, piece in cut(segment, data):
            self.packets += 1
            for at in self.wire.arrivals(self.now):
                self.order += 1
                heapq.heappush(self.flying, (at, self.order, 1 - index, part, piece))


def cut(segment: Segment, data: bytes) -> list[tuple[Segment, bytes]]:
    """Return the packets a device makes of a super-segment: FIN only on the last."""
    pieces = [data[at : at + segment.mss] for at in range(0, len(data), segment.mss)] or [b""]
    out = []
    for index, piece in enumerate(pieces):
        flags = segment.flags if index == len(pieces) - 1 else segment.flags & ~FIN
        seq = seqnum.add(segment.seq, index * segment.mss)
        out.append((Segment(seq, segment.ack, flags, segment.window, segment.options, (), len(piece), 0), piece))
    return out


def check(host: Host, connection: Connection) -> None:
    """Assert what holds between any two calls."""
    assert connection.deadline > 0
    assert seqnum.sub(connection.snd_nxt, connection.snd_una) >= 0
    assert seqnum.sub(connection.snd_max, connection.snd_nxt) >= 0
    assert 0 <= connection.unsent <= connection.unacknowledged
    assert connection.held_bytes == sum(span.length for _, span in connection.held)
    assert len(connection.held) <= host.config.max_held_spans
    assert all(lease.returned <= 1 for lease in host.leases)
    held = [span.lease for _, span in connection.held]
    assert {id(lease) for lease in held} == {id(lease) for lease in host.outstanding()}
    assert len(held) == len(host.outstanding())
    host.leases = host.outstanding()


def check_window(host: Host, connection: Connection, segment: Segment) -> None:
    """Assert that the right edge of the window never moves back by a whole unit, nor beyond the buffer."""
    if segment.flags & (RST | ACK) != ACK or connection.state in (state.CLOSED, state.TIME_WAIT):
        return
    scale = 0 if segment.flags & SYN else connection.rcv_scale
    edge = seqnum.add(segment.ack, segment.window << scale)
    if host.right_edge is not None and segment.flags & SYN == 0:
        assert seqnum.sub(edge, host.right_edge) > -(1 << scale) - 1
        host.right_edge = seqnum.latest(edge, host.right_edge)
    else:
        host.right_edge = edge
    room = host.config.receive_buffer - connection.unconsumed
    assert seqnum.sub(edge, connection.rcv_nxt) <= max(room, 0) + (2 << scale)
