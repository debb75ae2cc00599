"""Buckets and their connections on their way from this stack tile to another. Read noc/tags and stack/buckets first.

    STEER to the driver tiles ─► STEERED by all ─► MOVING to the applications ─► MOVE by each ─► its payload has left
    ─► PASS, ADOPT ─► all of the batch gone: BUCKETS            then ADOPTED by the other tile, LEFT by the application

An application's process outlives a move, and so must this tile until LEFT: the application takes a stack tile's end
for that of all connections it has not yet been told to have moved.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import Final

from dlibos_node.memory.fault import Fault
from dlibos_node.noc import message, tags
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.roles.app_events import AppEvents
from dlibos_node.roles.tx import TxPort
from dlibos_node.stack import transfer
from dlibos_node.stack.buckets import AWAY, HELD, LEAVING, STEERING
from dlibos_node.stack.flow import Flow
from dlibos_node.stack.host import Host
from dlibos_node.tcp.span import Span

BATCH: Final = (message.MAX_WORDS - 2) * tags.BUCKETS_A_WORD  # buckets in one STEER
PART: Final = message.MAX_WORDS - 2  # words of a connection in one ADOPT
NO_LEASE: Final = 0xFFFF << 48  # of a buffer whose driver tile has gone: it is nobody's to release


class Drop(enum.Enum):
    """Why a message was not obeyed; the value is the metric's label."""

    ENDED = "connection_ended_on_its_way"


class _Batch:
    """Buckets that go to one tile together. `drivers` have yet to say STEERED, `flows` have yet to go, by handle."""

    __slots__ = ("buckets", "drivers", "flows", "serial", "steered", "target")

    def __init__(self, serial: int, target: Peer, buckets: list[int], drivers: set[int]) -> None:
        self.serial = serial
        self.target = target
        self.buckets = buckets
        self.drivers = drivers
        self.steered = False
        self.flows: dict[int, _Leaver] = {}


class _Leaver:
    """A connection that its application was told of. `frozen`: the application says no more about it here."""

    __slots__ = ("acknowledged", "batch", "flow", "frozen")

    def __init__(self, flow: Flow, batch: _Batch, acknowledged: int) -> None:
        self.flow = flow
        self.batch = batch
        self.acknowledged = acknowledged  # bytes the application has yet to be told of
        self.frozen = False


class Departures:
    """The moves this tile makes. `stacks` and `apps` are the tiles it talks to; they change as tiles come and go."""

    def __init__(
        self,
        host: Host,
        port: TxPort,
        events: AppEvents,
        stacks: dict[int, Peer],
        apps: dict[int, Peer],
        faults: Faults,
    ) -> None:
        self.drops: Counter[Drop] = Counter()
        self.moved = 0  # connections given away
        self._host = host
        self._port = port
        self._events = events
        self._stacks = stacks
        self._apps = apps
        self._faults = faults
        self._serial = 0
        self._batches: dict[int, _Batch] = {}
        self._leavers: dict[int, _Leaver] = {}
        self._frozen: dict[int, _Leaver] = {}
        self._unadopted: Counter[tuple[int, int]] = Counter()  # (stack tile, handle)
        self._unleft: dict[tuple[int, int], list[int]] = {}  # (application tile, handle): the stack tiles it goes to

    @property
    def busy(self) -> bool:
        """Whether a move is not over."""
        return bool(self._batches or self._unadopted or self._unleft)

    # --- a batch ------------------------------------------------------------------------------------------------

    def plan(self, now: int) -> None:
        """Begin to give away what is to be another's."""
        for owner, buckets in self._host.buckets.misplaced().items():
            target = self._stacks.get(owner)
            if target is not None and target.up:
                for start in range(0, len(buckets), BATCH):
                    self._begin(target, buckets[start : start + BATCH], now)

    def _begin(self, target: Peer, buckets: list[int], now: int) -> None:
        self._serial += 1
        drivers = self._port.drivers
        batch = _Batch(self._serial, target, buckets, {driver.number for driver in drivers})
        self._batches[batch.serial] = batch
        self._host.buckets.move(buckets, STEERING)
        for driver in drivers:
            driver.post(tags.COMMANDS, tags.STEER, batch.serial, target.number, *tags.bucket_words(buckets))
        self._barrier(batch, now)

    def on_steered(self, source: int, payload: list[int], now: int) -> None:
        """STEERED: no frame of the batch comes from that driver tile any more."""
        batch = self._batches.get(payload[0])
        if batch is None or source not in batch.drivers:
            return  # of a batch that was given up
        batch.drivers.discard(source)
        self._barrier(batch, now)

    def _barrier(self, batch: _Batch, now: int) -> None:
        if batch.drivers or batch.steered:
            return
        batch.steered = True
        buckets = self._host.buckets
        buckets.move(batch.buckets, LEAVING)
        chosen = set(batch.buckets)
        for flow in self._host.flows:
            if buckets.of(flow.key) in chosen:
                self._send_off(flow, batch, now)
        self._rest(batch, chosen, now)
        self._complete(batch)

    def _send_off(self, flow: Flow, batch: _Batch, now: int) -> None:
        if not flow.established:
            self._host.flows.withdraw(flow, now)
            self._adopt(flow, batch.target, 0, now)
            return
        self._host.flows.hide(flow)
        leaver = _Leaver(flow, batch, self._events.hold(flow))
        self._leavers[flow.handle] = batch.flows[flow.handle] = leaver
        self._apps[flow.app].post(tags.EVENTS, tags.MOVING, flow.handle, batch.target.number)

    def _rest(self, batch: _Batch, chosen: set[int], now: int) -> None:
        buckets = self._host.buckets
        words: list[int] = []
        for key, record in self._host.flows.time_waits.take(lambda key: buckets.of(key) in chosen):
            words += transfer.pack_waiting(key, record, now)
        batch.target.post_all(tags.EVENTS, tags.TIME_WAIT, words, transfer.RECORD)

    def _complete(self, batch: _Batch) -> None:
        if batch.steered and not batch.flows:
            batch.target.post(tags.EVENTS, tags.BUCKETS, *tags.bucket_words(batch.buckets))
            self._host.buckets.move(batch.buckets, AWAY)
            del self._batches[batch.serial]

    # --- a connection -------------------------------------------------------------------------------------------

    def on_move(self, source: int, payload: list[int], _now: int) -> None:
        """MOVE: the application says no more about the connection here."""
        leaver = self._leavers.get(payload[0])
        if leaver is None:
            self.drops[Drop.ENDED] += 1
        elif leaver.flow.app != source or leaver.frozen:
            self._faults.report(source, Fault.CONNECTION, tags.MOVE)
        else:
            leaver.frozen = True
            self._frozen[leaver.flow.handle] = leaver

    def advance(self, now: int) -> None:
        """Send off what nothing holds back any more; called when messages were handled."""
        if self._events.ended:
            self._bury()
        if self._frozen:
            for leaver in [leaver for leaver in self._frozen.values() if self._events.left(leaver.flow)]:
                self._go(leaver, now)

    def _bury(self) -> None:
        for handle in self._events.ended:
            leaver = self._leavers.get(handle)
            if leaver is not None:
                self._forget(leaver)
                self._complete(leaver.batch)
        self._events.ended.clear()

    def _go(self, leaver: _Leaver, now: int) -> None:
        flow, target = leaver.flow, leaver.batch.target
        self._host.flows.withdraw(flow, now)
        self._pass(flow, target)
        self._adopt(flow, target, leaver.acknowledged, now)
        self._unleft.setdefault((flow.app, flow.handle), []).append(target.number)
        self._forget(leaver)
        self._complete(leaver.batch)

    def _forget(self, leaver: _Leaver) -> None:
        handle = leaver.flow.handle
        self._events.let_go(handle)
        self._frozen.pop(handle, None)
        del self._leavers[handle], leaver.batch.flows[handle]

    def _pass(self, flow: Flow, target: Peer) -> None:
        """Let driver tiles lend what the application has not read to the other tile."""
        words: dict[int, list[int]] = {}
        drivers: dict[int, Peer] = {}
        for i, span in enumerate(flow.unread):
            driver = self._port.passed(span.lease)
            if driver is None:
                flow.unread[i] = Span(NO_LEASE, span.offset, span.length)
            else:
                drivers[driver.number] = driver
                words.setdefault(driver.number, []).append(span.lease)
        for number, leases in words.items():
            for start in range(0, len(leases), message.MAX_WORDS - 1):
                part = leases[start : start + message.MAX_WORDS - 1]
                drivers[number].post(tags.RELEASES, tags.PASS, target.number, *part)

    def _adopt(self, flow: Flow, target: Peer, acknowledged: int, now: int) -> None:
        words = transfer.pack(flow, acknowledged, now)
        parts = -(-len(words) // PART)
        for part in range(parts):
            piece = words[part * PART : (part + 1) * PART]
            target.post(tags.EVENTS, tags.ADOPT, flow.handle, part | parts << 32, *piece)
        self._unadopted[target.number, flow.handle] += 1
        self.moved += 1

    def on_adopted(self, source: int, payload: list[int], _now: int) -> None:
        """ADOPTED: the other tile has the connection."""
        key = (source, payload[0])
        if key not in self._unadopted:
            self._faults.report(source, Fault.CONNECTION, tags.ADOPTED)
            return
        self._unadopted[key] -= 1
        if not self._unadopted[key]:
            del self._unadopted[key]

    def on_left(self, source: int, payload: list[int], _now: int) -> None:
        """LEFT: the application knows where the connection goes on."""
        key = (source, payload[0])
        targets = self._unleft.get(key)
        if targets is None:
            self._faults.report(source, Fault.CONNECTION, tags.LEFT)
            return
        targets.pop(0)
        if not targets:
            del self._unleft[key]

    # --- links --------------------------------------------------------------------------------------------------

    def driver_gone(self, number: int, now: int) -> None:
        """A driver tile sends nothing any more."""
        for batch in list(self._batches.values()):
            batch.drivers.discard(number)
            self._barrier(batch, now)

    def app_gone(self, number: int) -> None:
        """An application tile says nothing any more; what it had not said MOVE of has been reset."""
        for key in [key for key in self._unleft if key[0] == number]:
            del self._unleft[key]

    def stack_gone(self, number: int, now: int) -> None:
        """The buckets that it had not been given stay; connections on their way to it are lost."""
        for batch in [batch for batch in self._batches.values() if batch.target.number == number]:
            for leaver in list(batch.flows.values()):
                self._forget(leaver)
                self._host.flows.abort(leaver.flow, now)
            self._host.buckets.move(batch.buckets, HELD)
            del self._batches[batch.serial]
        for key in [key for key in self._unadopted if key[0] == number]:
            del self._unadopted[key]
        for left, targets in list(self._unleft.items()):
            self._unleft[left] = kept = [target for target in targets if target != number]
            if not kept:
                del self._unleft[left]

    # --- frames that went astray --------------------------------------------------------------------------------

    def correct(self) -> None:
        """Tell driver tiles where the frames belong that should not have come here."""
        wrong = self._host.custody.wrong
        if not wrong:
            return
        drivers = {peer.number: peer for peer in self._port.drivers}
        leaving = {bucket: batch.target.number for batch in self._batches.values() for bucket in batch.buckets}
        found: dict[tuple[int, int], list[int]] = {}
        for route, bucket in wrong:
            target = leaving.get(bucket, self._host.buckets.elsewhere(bucket))
            if target is not None and route in drivers:
                found.setdefault((route, target), []).append(bucket)
        wrong.clear()
        for (route, target), buckets in found.items():
            for start in range(0, len(buckets), BATCH):
                words = tags.bucket_words(buckets[start : start + BATCH])
                drivers[route].post(tags.COMMANDS, tags.STEER, 0, target, *words)
