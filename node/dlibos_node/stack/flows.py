"""All TCP connections of a host: demultiplexing, listening, timers, and the commands of the application side.

After every call into a connection `_service` takes what it left: events, segments, dropped payload, a new deadline.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from dlibos_node.stack.flow import Arrival, Flow, Header
from dlibos_node.stack.interface import Interface
from dlibos_node.stack.listeners import Listener, Listeners
from dlibos_node.stack.ports import Drop, Events, Port
from dlibos_node.stack.time_waits import TimeWaits
from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import DEFAULT_PEER_MSS, TcpConfig
from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.reset import reset_for
from dlibos_node.tcp.segment import NO_SPANS, Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Statistics
from dlibos_node.tcp.time_wait import ANSWER, REUSE, TimeWait
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK, FIN, NO_OPTIONS, RST, SYN, Options

# Timers are late by up to this many microseconds (a power of two), about what Linux's are late by at 250 Hz.
TICK: Final = 4096
# When receive buffers run short, a connection that holds this many gets no more: whoever reads what it is sent goes on.
FAIR_SHARE: Final = 8
REUSE_DISTANCE: Final = 0x10001  # beyond an unscaled window, as Linux


class FlowStatistics:
    """Counts of a host's TCP; plain integers."""

    __slots__ = ("accepted", "closed", "reset", "resets_sent", "segments_in", "segments_out")

    def __init__(self) -> None:
        self.segments_in = 0
        self.segments_out = 0
        self.accepted = 0
        self.closed = 0
        self.reset = 0
        self.resets_sent = 0


class Flows:
    """The connection table. `secret` keys the initial sequence numbers (RFC 6528)."""

    def __init__(
        self,
        interface: Interface,
        port: Port,
        upcalls: Events,
        config: TcpConfig,
        *,
        secret: bytes,
        backlog: int,
        drops: Counter[Drop],
        first_handle: int = 0,
        expects: Callable[[int], bool] = lambda port: False,
    ) -> None:
        """`first_handle`: what the connections of this host are named from; `expects` tells of a port that nobody
        listens on whether somebody is to: then a SYN is dropped, not refused."""
        self.config = config
        self.listeners = Listeners(backlog)
        self.statistics = FlowStatistics()
        self.tcp_statistics = Statistics()
        self._interface = interface
        self._port = port
        self._upcalls = upcalls
        self._secret = secret
        self._drops = drops
        self._expects = expects
        self._flows: dict[int, Flow] = {}
        self._handles: dict[int, Flow] = {}
        self._handle = first_handle
        self.time_waits = TimeWaits()
        self._heap: list[tuple[int, int]] = []  # (deadline, handle); stale entries are re-armed when they come up

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[Flow]:
        return iter(list(self._flows.values()))

    @property
    def waiting(self) -> int:
        """Number of connections in TIME-WAIT."""
        return len(self.time_waits)

    def get(self, key: int) -> Flow | None:
        """Return the connection of a key: peer address << 32 | peer port << 16 | local port."""
        return self._flows.get(key)

    def arrived(
        self,
        flow: Flow,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        options: Options | None,
        span: Span | None,
        lease: int,
        route: int,
        now: int,
    ) -> None:
        """Take a valid segment of a known connection; its buffer is released here unless its payload is kept."""
        self.statistics.segments_in += 1
        flow.route = route
        if span is None:
            self._port.release(lease)
        elif (flow.unread or flow.conn.held) and flow.holds >= FAIR_SHARE and self._port.short(lease):
            self._drops[Drop.MEMORY] += 1
            self._port.release(lease)
            return
        flow.conn.on_segment(seq, ack, flags, window, options, span, now)
        self._service(flow, now)

    def stray(self, key: int, segment: Arrival, now: int) -> None:
        """Take a valid segment that belongs to no connection (RFC 9293 section 3.10.7.1 and .2, and TIME-WAIT)."""
        self.statistics.segments_in += 1
        record = self.time_waits.get(key)
        if record is not None and not self._rest(key, record, segment, now):
            return
        listener = self.listeners.find(key & 0xFFFF)
        if listener is None and segment.flags & SYN and self._expects(key & 0xFFFF):
            self._drops[Drop.NOT_LISTENING] += 1
        elif listener is None or segment.flags & (SYN | ACK | RST | FIN) != SYN:
            self._drops[Drop.STRAY if listener else Drop.NO_LISTENER] += 1
            self._refuse(key, segment)
        elif listener.half_open >= listener.backlog:
            self._drops[Drop.BACKLOG] += 1
        else:
            after = None if record is None else record.snd_nxt
            self._open(key, listener, segment, after, now)

    # --- commands of the application side; an unknown handle is a connection that has died meanwhile -------------

    def find(self, handle: int) -> Flow | None:
        """Return the connection an application tile names."""
        return self._handles.get(handle)

    def send(self, flow: Flow, span: Span, now: int) -> None:
        """Queue payload; `Events.sent` reports its acknowledgement."""
        flow.conn.send(span, now)
        self._service(flow, now)

    def consumed(self, flow: Flow, count: int, now: int) -> None:
        """The application has read `count` <= `flow.owing` bytes: release the buffers they fill, open the window."""
        flow.owing -= count
        unread, left = flow.unread, flow.read + count
        while unread and left >= unread[0].length:
            span = unread.popleft()
            left -= span.length
            self._port.release(span.lease)
        flow.read = left if unread else 0
        if flow.dead:
            self._bury(flow)
            return
        flow.conn.consume(count, now)
        if flow.conn.outbox:
            self._service(flow, now)

    def close(self, flow: Flow, now: int) -> None:
        """Close in order: FIN after what was queued."""
        flow.conn.shutdown(now)
        self._service(flow, now)

    def abort(self, flow: Flow, now: int) -> None:
        """Reset."""
        flow.conn.abort(now)
        self._service(flow, now)

    def dismiss(self, port: int, app: int) -> None:
        """Give an application tile no new connections to a port; others that share it get those half open."""
        listener = self.listeners.leave(port, app)
        if listener is None:
            return
        for flow in self._flows.values():
            if flow.app == app and not flow.established and flow.header.local_port == port:
                flow.app = listener.next_app()

    def rename(self, flow: Flow, app: int) -> None:
        """Give a connection to another application tile, under a new handle: the old one's last words reach nobody."""
        del self._handles[flow.handle]
        flow.handle = self._next_handle()
        self._handles[flow.handle] = flow
        flow.app = app
        flow.armed = flow.conn.deadline
        if flow.armed < NEVER:
            heapq.heappush(self._heap, (flow.armed, flow.handle))

    def abandon(self, app: int, now: int) -> None:
        """An application tile is gone: its listeners close, its connections are reset."""
        self.listeners.remove(app)
        for flow in [flow for flow in self._handles.values() if flow.app == app]:
            self.abort(flow, now)
            for span in flow.unread:
                self._port.release(span.lease)
            flow.unread.clear()
            self._bury(flow)

    # --- time ---------------------------------------------------------------------------------------------------

    def next_deadline(self) -> int:
        """Return when `on_timer` wants to be called, NEVER if nothing is to come: a whole number of ticks, so that the
        timers of many connections ring together."""
        heap = self._heap[0][0] if self._heap else NEVER
        return (min(heap, self.time_waits.deadline) + TICK - 1) & -TICK

    def on_timer(self, now: int) -> None:
        """Run what is due."""
        while self._heap and self._heap[0][0] <= now:
            deadline, handle = heapq.heappop(self._heap)
            flow = self._handles.get(handle)
            if flow is None or flow.armed != deadline:
                continue  # dead, or armed earlier since
            flow.armed = flow.conn.deadline
            if flow.armed <= now:
                flow.armed = NEVER
                flow.conn.on_timer(now)
                self._service(flow, now)
            elif flow.armed < NEVER:
                heapq.heappush(self._heap, (flow.armed, handle))
        self.time_waits.expire(now)

    # --- between hosts ------------------------------------------------------------------------------------------

    def hide(self, flow: Flow) -> None:
        """Let no frame find a connection any more; commands and timers still do."""
        if self._flows.get(flow.key) is flow:
            del self._flows[flow.key]

    def withdraw(self, flow: Flow, now: int) -> None:
        """Take a connection out, to go on elsewhere: nothing happens to it here any more."""
        self.hide(flow)
        del self._handles[flow.handle]
        if not flow.established:
            self._settle(flow)
        flow.conn.memory_pressure()
        self._service(flow, now)
        flow.armed = NEVER

    def install(self, flow: Flow, now: int) -> None:
        """Take a connection in that comes from another host. Its key and its handle are not in use here."""
        self._flows[flow.key] = self._handles[flow.handle] = flow
        listener = self.listeners.find(flow.key & 0xFFFF)
        if listener is not None and not flow.established:
            listener.half_open += 1
        self._service(flow, now)

    def knock(self, key: int, route: int, neighbour: bytes) -> bool:
        """Make a peer say what it expects on a connection that is not here: then it is answered, and reset.

        A bare ACK that cannot be right is answered by an ACK (RFC 9293 section 3.10.7.4), whatever its numbers.
        """
        if key in self._flows:
            return False
        header = Header(key, self._interface.mac, neighbour, self._interface.address)
        empty = Segment(0, 0, ACK, 0, b"", NO_SPANS, 0, DEFAULT_PEER_MSS)
        self._port.transmit(route, header.pack(empty), (), 0)
        return True

    # --- inside -------------------------------------------------------------------------------------------------

    def _service(self, flow: Flow, now: int) -> None:
        conn = flow.conn
        if conn.released:
            for span in conn.released:
                self._port.release(span.lease)
            conn.released.clear()
        if conn.events:
            self._report(flow)  # before new payload goes out: what is acknowledged lay in what went out before
        outbox = conn.outbox
        if outbox:
            port, header = self._port, flow.header
            route = port.way(flow.route, flow.key)
            self.statistics.segments_out += len(outbox)
            for segment in outbox:
                gso_size = segment.mss if segment.length > segment.mss else 0
                ticket = port.transmit(route, header.pack(segment), segment.spans, gso_size)
                if segment.length:
                    flow.on_its_way(route, ticket)
            outbox.clear()
        armed = flow.armed
        if conn.retransmit_at < armed or conn.ack_at < armed or conn.persist_at < armed or conn.wait_at < armed:
            flow.armed = conn.deadline
            heapq.heappush(self._heap, (flow.armed, flow.handle))

    def _report(self, flow: Flow) -> None:
        upcalls, events = self._upcalls, flow.conn.events
        for kind, value in events:
            if isinstance(value, Span):
                flow.unread.append(value)
                flow.owing += value.length
                upcalls.received(flow, value)
            elif kind == event.ACKED:
                upcalls.sent(flow, value or 0)
            elif kind == event.ESTABLISHED:
                self._settle(flow)
                flow.established = True
                self.statistics.accepted += 1
                upcalls.connected(flow)
            elif kind == event.PEER_CLOSED:
                upcalls.peer_closed(flow)
            elif kind == event.CLOSED:
                self._remove(flow, value or event.NORMAL)
        events.clear()

    def _remove(self, flow: Flow, reason: int) -> None:
        self._settle(flow)
        self.hide(flow)
        flow.dead = True
        self._bury(flow)
        self.statistics.closed += 1
        self.statistics.reset += reason != event.NORMAL
        if flow.established:
            self._upcalls.dead(flow, reason)
        if flow.conn.state == state.TIME_WAIT:
            self.time_waits.add(flow.key, TimeWait.of(flow.conn))

    def _bury(self, flow: Flow) -> None:
        """Forget a dead flow once its application has read what it was told of: the buffers are not free before."""
        if not flow.unread:
            self._handles.pop(flow.handle, None)

    def _settle(self, flow: Flow) -> None:
        listener = self.listeners.find(flow.key & 0xFFFF)
        if listener is not None and not flow.established:
            listener.half_open -= 1

    def _open(self, key: int, listener: Listener, segment: Arrival, after: int | None, now: int) -> None:
        options = segment.options or NO_OPTIONS
        iss = self.initial_sequence(key, now)
        if after is not None and seqnum.le(iss, after):
            # RFC 1122 section 4.2.2.13: larger than any number of the connection before, whichever host had that.
            iss = seqnum.add(after, REUSE_DISTANCE)
        conn = Connection.passive(self.config, iss, segment.seq, segment.window, options, now, self.tcp_statistics)
        handle = self._next_handle()
        header = Header(key, self._interface.mac, segment.source_mac, self._interface.address)
        flow = Flow(key, handle, conn, header, listener.next_app(), segment.route)
        self._flows[key] = self._handles[handle] = flow
        listener.half_open += 1
        self._service(flow, now)

    def _next_handle(self) -> int:
        """Name a connection: never as one that is still here, and unlike those of every other host."""
        while True:
            self._handle = self._handle & ~0xFFFF_FFFF | self._handle + 1 & 0xFFFF_FFFF
            if self._handle not in self._handles:
                return self._handle

    def initial_sequence(self, key: int, now: int) -> int:
        """Return the initial sequence number for a 4-tuple."""
        # RFC 6528 section 3: a 4 us clock plus a keyed hash of the 4-tuple; our own address is part of the key's table.
        digest = hashlib.blake2s(key.to_bytes(8, "big"), digest_size=4, key=self._secret).digest()
        return (now // 4 + int.from_bytes(digest, "big")) & 0xFFFF_FFFF

    def _refuse(self, key: int, segment: Arrival) -> None:
        answer = reset_for(segment.seq, segment.ack, segment.flags, segment.length)
        if answer is not None:
            self.statistics.resets_sent += 1
            self._answer(key, segment, answer)

    def _answer(self, key: int, segment: Arrival, answer: Segment) -> None:
        """Send a segment that no connection stands behind."""
        header = Header(key, self._interface.mac, segment.source_mac, self._interface.address)
        self._port.transmit(segment.route, header.pack(answer), (), 0)

    # --- TIME-WAIT ----------------------------------------------------------------------------------------------

    def _rest(self, key: int, record: TimeWait, segment: Arrival, now: int) -> bool:
        """Answer for a connection in TIME-WAIT; True: this SYN may open the 4-tuple anew."""
        verdict = record.on_segment(segment.seq, segment.flags, segment.length, now, self.config.time_wait)
        if verdict == ANSWER:
            self._answer(key, segment, record.answer())
        elif verdict == REUSE:
            self.time_waits.forget(key)
        return verdict == REUSE
