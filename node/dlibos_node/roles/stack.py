"""The stack tile: TCP/IP between driver tiles and application tiles. Frames and answers lie where others put them."""

from __future__ import annotations

import enum
import errno
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from dlibos_node.memory import layout
from dlibos_node.memory.descriptor import APP_INDEX, HIGH32, INDEX_BITS, INDEX_MASK, LOW32, TX_INDEX
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.foreign import Foreign
from dlibos_node.noc import tags
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.roles.app_events import AppEvents
from dlibos_node.roles.arrivals import Arrivals
from dlibos_node.roles.departures import Departures
from dlibos_node.roles.dispatch import Dispatch, Table
from dlibos_node.roles.handing_over import HandOvers
from dlibos_node.roles.orphans import Orphans
from dlibos_node.roles.role import Clock
from dlibos_node.roles.tx import FRAME_SIZE, TxPort
from dlibos_node.stack import transfer
from dlibos_node.stack.buckets import Buckets
from dlibos_node.stack.flow import Flow
from dlibos_node.stack.host import Frame, Host
from dlibos_node.stack.interface import Interface
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER

MOST_QUEUED: Final = layout.APP.slots  # descriptors on one connection: an application has no more buffers
ANSWERS_WAITING: Final = 4096  # words for an application that takes none of them
KEPT_WAITING: Final = 1 << 16  # the same where there may be an answer for every connection


class Drop(enum.Enum):
    """Why a message was not obeyed; the value is the metric's label."""

    CLOSED = "connection_gone"  # a command that crossed the connection's end: harmless


class Stack:
    """One stack tile.

    `foreign` maps numbers to partitions that other tiles have handed over, `ports` application tiles to the ports of
    their domain: no others may they listen on. It changes as tiles come and go.
    """

    def __init__(
        self,
        interface: Interface,
        config: TcpConfig,
        port: TxPort,
        queues: Queues,
        drivers: dict[int, Peer],
        apps: dict[int, Peer],
        stacks: dict[int, Peer],
        foreign: Foreign,
        ports: Mapping[int, frozenset[int]],
        faults: Faults,
        clock: Clock,
        flush: Callable[[], None],
        *,
        secret: bytes,
        backlog: int,
        protected: bool,
        tile: int = 0,
        owners: bytes = b"",
        first_handle: int = 0,
        neighbour: bytes = bytes(6),
        events: AppEvents | None = None,
    ) -> None:
        """`owners`: the bucket table, of which `tile` has its own; a stack that is alone needs none.

        `first_handle`: what the tile's connections are counted from, other in each process (32 bits); `neighbour` is
        the next hop's MAC; `events`: who is told what happens to connections: the tiles of `apps` unless given.
        """
        self.drops: Counter[Drop] = Counter()
        self.port = port
        self._events = events or AppEvents(apps, port)
        self.host = Host(
            interface,
            port,
            self._events,
            config,
            secret=secret,
            backlog=backlog,
            longest=FRAME_SIZE,
            buckets=Buckets(tile, interface.address, owners),
            first_handle=tile << 32 | first_handle,
            expects=self._expects,
        )
        self._apps = dict(apps)
        self.hand_overs = HandOvers(self.host.flows, self._events, self._apps)
        self._stacks = dict(stacks)
        self._foreign = foreign
        self._partitions = foreign.partitions
        self._ports = ports
        self._faults = faults
        self._checked = faults.checked
        self._protected = protected
        self._clock = clock
        self._flush = flush
        self._armed = NEVER
        self._retiring = False
        self.departures = Departures(self.host, port, self._events, self._stacks, self._apps, faults)
        self.arrivals = Arrivals(
            self.host, port, self._events, self._stacks, self._apps, ports, faults, self._examine, self.departures.plan,
            protected=protected,
        )  # fmt: skip
        self.orphans = Orphans(self.host, port, ports, faults, neighbour, protected=protected)
        peers = [*drivers.values(), *apps.values(), *stacks.values()]
        self.dispatch = Dispatch(queues, self._tables(), peers, faults, protected=protected)

    def _tables(self) -> dict[str, Table]:
        """Return what a tile of each role may say."""
        return {
            "driver": {
                tags.RX: (self._receive, 2),
                tags.TX_DONE: (self._done, 1),
                tags.WITHDRAW: (self._withdraw, 0),
                tags.STEERED: (self.departures.on_steered, 1),
                tags.PASSED: (self.arrivals.on_passed, 1),
            },
            "app": {
                tags.LISTEN: (self._listen, 2),
                tags.SEND: (self._send, 3),
                tags.RECV_DONE: (self._recv_done, 2),
                tags.CLOSE: (self._close, 1),
                tags.ABORT: (self._abort, 1),
                tags.UNLISTEN: (self._unlisten, 1),
                tags.HAND_OVER: (self._hand_over, 1),
                tags.MOVE: (self.departures.on_move, 1),
                tags.LEFT: (self.departures.on_left, 1),
                tags.ORPHANS: (self.orphans.on_orphans, 1),
            },
            "stack": {
                tags.ADOPT: (self.arrivals.on_adopt, 3),
                tags.ADOPTED: (self.departures.on_adopted, 1),
                tags.TIME_WAIT: (self.arrivals.on_time_wait, transfer.RECORD),
                tags.BUCKETS: (self.arrivals.on_buckets, 1),
            },
        }

    def _now(self) -> int:
        return int(self._clock.time() * 1e6)

    def open(self) -> None:
        """Driver and application tiles open; this one answers."""

    def drain(self) -> None:
        """Take received frames, commands and finished buffers; leave segments, events and releases."""
        self.dispatch.run(self._now())
        self._finish()

    def _finish(self) -> None:
        if self.departures.busy:
            self.departures.advance(self._now())
        self.departures.correct()
        self._events.flush()
        if self.hand_overs.waiting:
            self.hand_overs.run()
        self.port.flush_releases()
        self._arm()
        self._flush()

    def _expects(self, port: int) -> bool:
        """Whether a port is an application's, which has not come up yet if nobody listens on it."""
        return any(port in ports for ports in self._ports.values())

    # --- driver tiles -------------------------------------------------------------------------------------------

    def _receive(self, source: int, payload: list[int], now: int) -> None:
        place, lease = payload[0], payload[1]
        number = lease >> 48
        partition = self._partitions.get(number)
        if partition is None:
            self._faults.report(source, self._foreign.missing(number), tags.RX)
            return
        offset, length = place >> 32, place & LOW32
        if self._protected:
            self._checked.descriptors += 1
            foreign = number >> INDEX_BITS != source or number & INDEX_MASK >= TX_INDEX
            fault = Fault.PARTITION if foreign else partition.check(place, lease)
            if fault is not None:
                self._faults.report(source, fault, tags.RX)
                return
        word = lease & HIGH32 | offset
        self.port.held(word)
        verified, answer = bool(lease & tags.RX_CHECKSUM_OK), not lease & tags.RX_COPY
        self.host.receive(Frame(partition.view, offset, length, word, verified, answer, source), now)

    def _done(self, source: int, payload: list[int], _now: int) -> None:
        self._checked.counts += self._protected
        if not self.port.done(source, payload[0]) and self._protected:
            self._faults.report(source, Fault.EXCESS, tags.TX_DONE)

    def _withdraw(self, source: int, _payload: list[int], _now: int) -> None:
        self.port.withdraw(source)

    # --- commands of application tiles ---------------------------------------------------------------------------

    def _listen(self, source: int, payload: list[int], _now: int) -> None:
        port, backlog = payload[0], payload[1]
        if self._protected and port not in self._ports[source]:
            self._faults.report(source, Fault.PORT, tags.LISTEN)
            error = errno.EACCES
        else:
            error = self.host.flows.listeners.add(port, source, backlog)
        if self._listens(source, tags.LISTEN, ANSWERS_WAITING):
            self._apps[source].post(tags.EVENTS, tags.LISTENING, port, error)

    def _listens(self, source: int, tag: int, most: int) -> bool:
        """Whether an application tile takes its answers, so that one more may wait for it."""
        if not self._protected or len(self._apps[source].waiting[tags.EVENTS]) < most:
            return True
        self._faults.report(source, Fault.EXCESS, tag)
        return False

    def _unlisten(self, source: int, payload: list[int], _now: int) -> None:
        port = payload[0]
        if self._protected and port not in self._ports[source]:
            self._faults.report(source, Fault.PORT, tags.UNLISTEN)
            return
        self.host.flows.dismiss(port, source)
        if self._listens(source, tags.UNLISTEN, ANSWERS_WAITING):
            self._apps[source].post(tags.EVENTS, tags.UNLISTENED, port)

    def _hand_over(self, source: int, payload: list[int], _now: int) -> None:
        flow = self._flow(source, payload[0], tags.HAND_OVER)
        if flow is not None and self._listens(source, tags.HAND_OVER, KEPT_WAITING):
            self.hand_overs.ask(flow)

    def _flow(self, source: int, handle: int, tag: int) -> Flow | None:
        self._checked.connections += self._protected
        flow = self.host.flows.find(handle)
        if flow is None:
            self.drops[Drop.CLOSED] += 1
        elif self._protected and flow.app != source:
            self._faults.report(source, Fault.CONNECTION, tag)
            return None
        return flow

    def _send(self, source: int, payload: list[int], now: int) -> None:
        flow = self._flow(source, payload[0], tags.SEND)
        if flow is None:
            return
        for i in range(1, len(payload) - 1, 2):
            place, lease = payload[i], payload[i + 1]
            if self._protected:
                self._checked.descriptors += 1
                fault = self._examine(source, place, lease)
                if fault is None and len(flow.conn.queue) >= MOST_QUEUED:
                    fault = Fault.EXCESS  # the same buffer again and again
                if fault is not None:
                    self._faults.report(source, fault, tags.SEND)
                    return
            self.host.flows.send(flow, Span(lease & HIGH32, place >> 32, place & LOW32), now)

    def _examine(self, source: int, place: int, lease: int) -> Fault | None:
        number = lease >> 48
        partition = self._partitions.get(number)
        if number >> INDEX_BITS != source or number & INDEX_MASK != APP_INDEX:
            return Fault.PARTITION
        return self._foreign.missing(number) if partition is None else partition.check(place, lease)

    def _recv_done(self, source: int, payload: list[int], now: int) -> None:
        for i in range(0, len(payload) - 1, 2):
            flow = self._flow(source, payload[i], tags.RECV_DONE)
            if flow is None:
                continue
            self._checked.counts += self._protected
            if self._protected and payload[i + 1] > flow.owing:
                self._faults.report(source, Fault.EXCESS, tags.RECV_DONE)
            else:
                self.host.flows.consumed(flow, payload[i + 1], now)

    def _close(self, source: int, payload: list[int], now: int) -> None:
        flow = self._flow(source, payload[0], tags.CLOSE)
        if flow is not None:
            self.host.flows.close(flow, now)

    def _abort(self, source: int, payload: list[int], now: int) -> None:
        flow = self._flow(source, payload[0], tags.ABORT)
        if flow is not None:
            self.host.flows.abort(flow, now)

    # --- links --------------------------------------------------------------------------------------------------

    def changed(self, peer: Peer) -> None:
        """A driver tile's buffers, an application tile's connections, or moves begin or end with a link."""
        now = self._now()
        if peer.role == "app":
            self._app_changed(peer, now)
        elif peer.role == "driver":
            self._driver_changed(peer, now)
        elif peer.up:
            self.departures.plan(now)
        else:
            self.departures.stack_gone(peer.number, now)
            self.arrivals.stack_gone(peer.number, now)
        self._finish()

    def _app_changed(self, peer: Peer, now: int) -> None:
        if not peer.up:
            self._events.forget(peer.number)
            self.host.flows.abandon(peer.number, now)
            self.departures.app_gone(peer.number)
        self.arrivals.app_changed(peer, now)

    def _driver_changed(self, peer: Peer, now: int) -> None:
        if peer.up:
            self.port.attach(peer)
            self.orphans.knock()
        else:
            self.port.detach(peer.number)
            self.host.custody.forget(peer.number)
            self.departures.driver_gone(peer.number, now)
            self.arrivals.driver_gone(now)

    def admit(self, peer: Peer) -> None:
        """A driver, application or stack tile has joined the mesh."""
        self.dispatch.admit(peer)
        if peer.role == "app":
            self._apps[peer.number] = peer
            self._events.admit(peer)
        elif peer.role == "stack":
            self._stacks[peer.number] = peer

    def dismiss(self, peer: Peer) -> None:
        """It has left."""
        self.dispatch.dismiss(peer)
        self._stacks.pop(peer.number, None)
        if self._apps.pop(peer.number, None) is not None:
            self.arrivals.app_left(peer.number, self._now())
            self._events.dismiss(peer.number)

    def assign(self, owners: bytes) -> None:
        """Give away the buckets that are to be another's."""
        self.host.buckets.owners = owners
        self.departures.plan(self._now())
        self._finish()

    def retire(self) -> None:
        """Take nothing new: that is what `assign` has done, which gave the buckets to others."""
        self._retiring = True

    @property
    def retired(self) -> bool:
        """Whether it was told to retire, has neither bucket nor connection, and nobody waits for its memory."""
        moving = self.departures.busy or self.arrivals.busy
        left = self.host.buckets.held or len(self.host.flows) or self.port.in_use or self.port.leases
        return self._retiring and not moving and not left

    @property
    def held(self) -> bytes:
        """The buckets whose token is here: bucket b is bit b % 8 of byte b / 8."""
        return self.host.buckets.bitmap

    def close(self) -> None:
        """Nothing outlives the process."""

    # --- time ---------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        deadline = min(self.host.flows.next_deadline(), self.host.custody.deadline, self.arrivals.deadline)
        if deadline < self._armed:
            self._armed = deadline
            self._clock.call_at(deadline / 1e6, self._ring)

    def _ring(self) -> None:
        self._armed = NEVER
        now = self._now()
        self.host.flows.on_timer(now)
        self.host.custody.expire(now)
        self.arrivals.expire(now)
        self._finish()
