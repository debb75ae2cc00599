"""Buckets and their connections that come from other stack tiles. Read departures first.

    PASSED from driver tiles (leases) ─┐
    ADOPT from the stack tile ─────────┴─► installed: MOVED to the application, ADOPTED back, kept frames processed
    BUCKETS from the stack tile ─────────► kept frames that belong to no connection are answered

What comes is checked like everything that another tile says: a connection that cannot be, or that names what its
application may not have, is not adopted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dlibos_node.memory import descriptor, layout
from dlibos_node.memory.fault import Fault
from dlibos_node.noc import tags
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.roles.app_events import AppEvents
from dlibos_node.roles.departures import NO_LEASE
from dlibos_node.roles.tx import TxPort
from dlibos_node.stack import transfer
from dlibos_node.stack.buckets import AWAY, HELD
from dlibos_node.stack.flow import Flow
from dlibos_node.stack.host import Host
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER

LONGEST: Final = transfer.HEAD + 2 * (layout.APP.slots + layout.RX.slots)  # words: all buffers of everybody
MOST: Final = 65536  # connections that may wait to be installed
PATIENCE: Final = 5_000_000  # microseconds until one whose leases do not come is reset


class _Arrival:
    """A connection that came. `missing` are leases that no driver tile has passed on yet."""

    __slots__ = ("acknowledged", "flow", "missing", "source", "until")

    def __init__(self, source: int, flow: Flow, acknowledged: int, until: int) -> None:
        self.source = source
        self.flow = flow
        self.acknowledged = acknowledged
        self.missing = {span.lease for span in flow.unread}
        self.until = until


class Arrivals:
    """What comes to this tile. `examine` tells why an application may not send what two words name, None if it may.

    `accepted` is called when buckets have come: they may be another's by now.
    """

    def __init__(
        self,
        host: Host,
        port: TxPort,
        events: AppEvents,
        stacks: Mapping[int, Peer],
        apps: Mapping[int, Peer],
        ports: Mapping[int, frozenset[int]],
        faults: Faults,
        examine: Callable[[int, int, int], Fault | None],
        accepted: Callable[[int], None],
        *,
        protected: bool,
    ) -> None:
        self.adopted = 0
        self._host = host
        self._port = port
        self._events = events
        self._stacks = stacks
        self._apps = apps
        self._ports = ports
        self._faults = faults
        self._examine = examine
        self._accepted = accepted
        self._protected = protected
        self._parts: dict[int, tuple[int, list[int], int]] = {}  # by source: handle, words so far, parts so far
        self._passed: dict[int, set[int]] = {}  # by source: leases that driver tiles have passed on for it
        self._waiting: dict[int, _Arrival] = {}  # by handle
        self._given: set[int] = set()  # buckets that are this tile's as soon as their connections are installed

    @property
    def busy(self) -> bool:
        """Whether a connection waits to be installed."""
        return bool(self._waiting or self._parts or self._given)

    # --- messages -----------------------------------------------------------------------------------------------

    def on_passed(self, source: int, payload: list[int], now: int) -> None:
        """PASSED: leases are this tile's to release."""
        giver = payload[0]
        peer = self._stacks.get(giver)
        for lease in payload[1:]:
            self._port.held(lease)
            if peer is None or not peer.up:
                self._port.release(lease)  # what it was meant for never comes
            else:
                self._passed.setdefault(giver, set()).add(lease)
        for arrival in [arrival for arrival in self._waiting.values() if arrival.source == giver]:
            self._try(arrival, now)

    def on_adopt(self, source: int, payload: list[int], now: int) -> None:
        """ADOPT: a part of a connection."""
        handle, part, parts = payload[0], payload[1] & descriptor.LOW32, payload[1] >> 32
        before = self._parts.pop(source, None)
        expected = 0 if before is None else before[2]
        words = [] if before is None else before[1]
        if part != expected or (before is not None and before[0] != handle) or part >= parts:
            self._faults.report(source, Fault.STATE, tags.ADOPT)
            return
        words += payload[2:]
        if len(words) > LONGEST:
            self._faults.report(source, Fault.EXCESS, tags.ADOPT)
        elif part + 1 < parts:
            self._parts[source] = (handle, words, part + 1)
        else:
            self._take(source, handle, words, now)

    def _take(self, source: int, handle: int, words: list[int], now: int) -> None:
        host = self._host
        mac, address = host.interface.mac, host.interface.address
        flow = transfer.unpack(handle, words, host.flows.config, host.flows.tcp_statistics, mac, address, now)
        fault = Fault.STATE if flow is None else self._refuses(flow)
        if flow is None or fault is not None:
            self._faults.report(source, fault or Fault.STATE, tags.ADOPT)
            return
        arrival = _Arrival(source, flow, words[4], now + PATIENCE)
        self._waiting[handle] = arrival
        self._try(arrival, now)

    def _refuses(self, flow: Flow) -> Fault | None:
        flows, buckets = self._host.flows, self._host.buckets
        if flow.handle in self._waiting or flows.find(flow.handle) is not None or flows.get(flow.key) is not None:
            return Fault.STATE
        if buckets.state(buckets.of(flow.key)) != AWAY:
            return Fault.BUCKET
        if flow.app not in self._apps:
            return Fault.CONNECTION
        return self._oversteps(flow) if self._protected else None

    def _oversteps(self, flow: Flow) -> Fault | None:
        """What an unprotected mesh does not ask: whether the application may have such a connection."""
        if flow.header.local_port not in self._ports.get(flow.app, ()):
            return Fault.PORT
        if len(self._waiting) >= MOST:
            return Fault.EXCESS
        return self._misnames(flow)

    def _misnames(self, flow: Flow) -> Fault | None:
        for span in flow.conn.queue:
            fault = self._examine(flow.app, span.offset << 32 | span.length, span.lease)
            if fault is not None:
                return fault
        for span in flow.unread:
            if span.lease >> 48 & descriptor.INDEX_MASK >= descriptor.TX_INDEX and span.lease != NO_LEASE:
                return Fault.PARTITION
        return None

    def on_time_wait(self, _source: int, payload: list[int], now: int) -> None:
        """TIME_WAIT: connections that are over."""
        host, buckets = self._host, self._host.buckets
        found = transfer.unpack_waiting(payload, host.flows.config, now)
        host.flows.time_waits.put([entry for entry in found if buckets.state(buckets.of(entry[0])) == AWAY])

    def on_buckets(self, source: int, payload: list[int], now: int) -> None:
        """BUCKETS: they are this tile's, and what belongs to no connection is answered from now on."""
        buckets = self._host.buckets
        for bucket in tags.buckets_of(payload):
            if bucket >= len(buckets) or buckets.state(bucket) != AWAY or bucket in self._given:
                self._faults.report(source, Fault.BUCKET, tags.BUCKETS)
            else:
                self._given.add(bucket)
        self._accept(now)

    def _accept(self, now: int) -> None:
        """Take the buckets that were given, but for those of connections that are not installed yet."""
        if not self._given:
            return
        buckets = self._host.buckets
        blocked = {buckets.of(arrival.flow.key) for arrival in self._waiting.values()}
        ready = self._given - blocked
        self._given &= blocked
        buckets.move(ready, HELD)
        self._host.resume(self._host.custody.come(), now)
        self._accepted(now)

    # --- installing ---------------------------------------------------------------------------------------------

    def _try(self, arrival: _Arrival, now: int) -> None:
        """Install a connection if all of it is here, and its application."""
        if arrival.missing:
            passed = self._passed.get(arrival.source, set())
            come = arrival.missing & passed
            passed -= come
            arrival.missing -= come
            self._void(arrival, lambda number: number not in {peer.number for peer in self._port.drivers})
        peer = self._apps.get(arrival.flow.app)
        if not arrival.missing and ((peer is not None and peer.up) or not arrival.flow.established):
            self._install(arrival, now)

    def _void(self, arrival: _Arrival, gone: Callable[[int], bool]) -> None:
        """Do without the leases of driver tiles that are not there: with them, their buffers have gone."""
        lost = {lease for lease in arrival.missing if gone(descriptor.owner(lease >> 48))}
        if lost:
            arrival.missing -= lost
            for i, span in enumerate(arrival.flow.unread):
                if span.lease in lost:
                    arrival.flow.unread[i] = Span(NO_LEASE, span.offset, span.length)

    def _install(self, arrival: _Arrival, now: int) -> None:
        flow, host = arrival.flow, self._host
        del self._waiting[flow.handle]
        host.flows.install(flow, now)
        source = self._stacks.get(arrival.source)
        if source is not None:
            source.post(tags.EVENTS, tags.ADOPTED, flow.handle)
        self.adopted += 1
        if flow.established:
            self._events.moved(flow, arrival.acknowledged)
        host.resume(host.custody.take(flow.key), now)
        self._accept(now)

    def _discard(self, arrival: _Arrival) -> None:
        """A connection that cannot be installed: its peer finds out when it sends something."""
        del self._waiting[arrival.flow.handle]
        for span in arrival.flow.unread:
            if span.lease not in arrival.missing:
                self._port.release(span.lease)

    # --- links and time -----------------------------------------------------------------------------------------

    def app_changed(self, peer: Peer, now: int) -> None:
        """An application tile came up: what waited for it is installed."""
        if peer.up:
            for arrival in [arrival for arrival in self._waiting.values() if arrival.flow.app == peer.number]:
                self._try(arrival, now)

    def driver_gone(self, now: int) -> None:
        """A driver tile's buffers are gone."""
        for arrival in list(self._waiting.values()):
            self._try(arrival, now)

    def stack_gone(self, number: int, now: int) -> None:
        """What it had not finished giving away is lost."""
        self._parts.pop(number, None)
        for arrival in [arrival for arrival in self._waiting.values() if arrival.source == number and arrival.missing]:
            self._discard(arrival)
        for lease in self._passed.pop(number, ()):
            self._port.release(lease)
        self._accept(now)

    def app_left(self, number: int, now: int) -> None:
        """An application tile has left the mesh."""
        for arrival in [arrival for arrival in self._waiting.values() if arrival.flow.app == number]:
            self._discard(arrival)
        self._accept(now)

    @property
    def deadline(self) -> int:
        """When `expire` has something to do."""
        return min((arrival.until for arrival in self._waiting.values() if arrival.missing), default=NEVER)

    def expire(self, now: int) -> None:
        """Give up what has waited too long for its leases."""
        for arrival in [arrival for arrival in self._waiting.values() if arrival.missing and arrival.until <= now]:
            self._faults.report(arrival.source, Fault.HOLDER, tags.ADOPT)
            self._discard(arrival)
        self._accept(now)
