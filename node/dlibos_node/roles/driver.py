"""The driver tile: owns one queue of the network device.

In: a frame is read into an RX buffer of its domain, steered by its flow hash, and its descriptor sent to a stack tile.
Out: a TX message names a header in that stack tile's TX partition and payload in APP partitions; one gather write.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from typing import Final

from dlibos_node.memory.descriptor import APP_INDEX, INDEX_BITS, INDEX_MASK, LOW32
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.foreign import Foreign
from dlibos_node.nic import virtio
from dlibos_node.nic.device import Device
from dlibos_node.noc import tags
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.roles.dispatch import Dispatch
from dlibos_node.roles.moderation import Moderation
from dlibos_node.roles.reception import Reception
from dlibos_node.roles.redirect import Redirect
from dlibos_node.roles.role import Clock
from dlibos_node.roles.rx import Received
from dlibos_node.roles.steering import EVERYBODY, Steering
from dlibos_node.roles.withdrawal import DONE, Withdrawal
from dlibos_node.wire.buffer import Buffer

BUDGET: Final = 64  # frames per wake-up, so that transmission gets its turn (the weight of Linux's NAPI)


class Drop(enum.Enum):
    """Why a frame went no further; the value is the metric's label."""

    RING_FULL = "ring_full"  # the stack tile has not kept up: its ring is full, as mPIPE's would be
    NO_STACK = "no_stack"
    RUNT = "runt"
    DESCRIPTOR = "bad_descriptor"  # a TX message that names what is not there (unprotected: nothing else is looked at)
    DEVICE = "device"  # the device did not take the frame; its own counters say why


class _Target:
    """A stack tile as the driver sees it."""

    __slots__ = ("fresh", "header", "moderation", "peer", "waiting")

    def __init__(self, peer: Peer, moderation: Moderation) -> None:
        self.peer = peer
        self.moderation = moderation
        self.waiting = peer.waiting[tags.EVENTS]
        self.header = peer.header(tags.RX, tags.EVENTS, 2)
        self.fresh = 0  # frames read since moderation was last asked


class Driver:
    """One driver tile.

    `foreign` maps numbers to partitions that other tiles have handed over; `flush` sends what waits for one peer.
    """

    def __init__(
        self,
        device: Device,
        memory: Reception,
        steering: Steering,
        queues: Queues,
        stacks: list[Peer],
        foreign: Foreign,
        faults: Faults,
        clock: Clock,
        flush: Callable[[int], None],
        *,
        hold: int,
        words: int,
        ring_words: int,
        protected: bool,
    ) -> None:
        self.redirect = Redirect(steering, memory, faults, self._by_number, flush, protected=protected)
        table = {
            tags.TX: (self._transmit, 3),
            tags.RELEASE: (self._release, 1),
            tags.WITHDRAWN: (self._withdrawn, 0),
            tags.STEER: (self.redirect.on_steer, 2),
            tags.PASS: (self.redirect.on_pass, 2),
        }
        self.dispatch = Dispatch(queues, {"stack": table}, stacks, faults, protected=protected)
        self.memory = memory
        self.drops: Counter[Drop] = Counter()
        self.device = device
        self._steering = steering
        self._foreign = foreign
        self._partitions = foreign.partitions
        self._faults = faults
        self._checked = faults.checked
        self._protected = protected
        self._clock = clock
        self._flush = flush
        self._hold = hold / 1e6
        self._ring_words = ring_words
        self._words = words
        self._targets = {peer.number: self._target(peer) for peer in stacks}
        self._timer_set = False
        self._withdrawal: Withdrawal | None = None
        self._done: Counter[int] = Counter()  # TX messages finished since the last TX_DONE, by stack tile

    def _by_number(self) -> dict[int, Peer]:
        return {number: target.peer for number, target in self._targets.items()}

    def _target(self, peer: Peer) -> _Target:
        return _Target(peer, Moderation(int(self._hold * 1e6), self._words))

    def open(self) -> None:
        """Let frames come."""
        self.device.attach()

    # --- in -----------------------------------------------------------------------------------------------------

    def readable(self) -> None:
        """Frames wait at the device: read up to BUDGET, hand them on as moderation allows."""
        read, receive = self.memory.read, self.device.receive
        for _ in range(BUDGET):
            frame = read(receive)
            if frame is None:
                break
            self._steer(frame)
        now = int(self._clock.time() * 1e6)
        for target in self._targets.values():
            if target.fresh:
                target.moderation.arrived(target.fresh, now)
                target.fresh = 0
                self._moderate(target, now)

    def _steer(self, frame: Received) -> None:
        offset, length = frame.offset + virtio.HEADER_LENGTH, frame.length - virtio.HEADER_LENGTH
        view = frame.view
        if length < virtio.ETHERNET_LENGTH or not self._targets:
            self._drop(frame, Drop.RUNT if self._targets else Drop.NO_STACK)
            return
        flags = tags.RX_CHECKSUM_OK if view[frame.offset] else 0  # NEEDS_CSUM or DATA_VALID
        tile = self._steering.target(view, offset, length)
        if tile == EVERYBODY:
            self._copy(view, offset, length)
            tile = self._steering.buckets[0]
        target = self._targets.get(tile)
        if target is None or not target.peer.up:
            self._drop(frame, Drop.NO_STACK)
            return
        if len(target.waiting) > self._ring_words:
            self._drop(frame, Drop.RING_FULL)
            return
        lease = frame.pool.lend(frame.slot, tile)
        target.waiting += (target.header, offset << 32 | length, lease | flags)
        target.fresh += 1

    def _drop(self, frame: Received, reason: Drop) -> None:
        frame.pool.put(frame.slot)
        self.drops[reason] += 1

    def _copy(self, view: memoryview, offset: int, length: int) -> None:
        """Let every stack tile but the first hear a frame that concerns all; each copy has one reader and one lease."""
        first, memory = self._steering.buckets[0], self.memory.common
        for tile, target in self._targets.items():
            if tile == first or not target.peer.up:
                continue
            copy = memory.store(view[offset : offset + length])
            if copy is None:
                continue  # the memory counts it
            lease = copy.pool.lend(copy.slot, tile)
            target.waiting += (target.header, copy.offset << 32 | length, lease | tags.RX_COPY)
            target.fresh += 1

    def _moderate(self, target: _Target, now: int) -> None:
        """Send what waits for a stack tile, or see to it that it will not wait too long."""
        waiting = len(target.waiting)
        if target.moderation.due(waiting, target.peer.outstanding(tags.EVENTS), now):
            target.moderation.sent(waiting)
            self._flush(target.peer.number)
        elif waiting:
            self._set_timer()

    def _set_timer(self) -> None:
        if not self._timer_set:
            self._timer_set = True
            self._clock.call_at(self._clock.time() + self._hold, self._held_long_enough)

    def _held_long_enough(self) -> None:
        self._timer_set = False
        self._flush_all()

    def _flush_all(self) -> None:
        for target in self._targets.values():
            target.moderation.sent(len(target.waiting))
            self._flush(target.peer.number)

    # --- out ----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Transmit what stack tiles ask for, take buffers back."""
        self.dispatch.run(0)
        now = int(self._clock.time() * 1e6)
        for source, count in self._done.items():
            target = self._targets[source]
            target.peer.post(tags.RELEASES, tags.TX_DONE, count)
        if self._done:
            self._done.clear()
            self._set_timer()  # headers are not so short that TX_DONE needs a frame of its own
        for target in self._targets.values():
            self._moderate(target, now)

    def _transmit(self, source: int, payload: list[int], _now: int) -> None:
        """`payload` is the meta word, then place and lease word of each part (noc.tags)."""
        self._done[source] += 1
        meta = payload[0]
        parts: list[Buffer] = [virtio.tcp4_header(bool(meta & tags.TX_NEEDS_CHECKSUM), meta >> 16, meta >> 8 & 0xFF)]
        good = self._gather(source, payload, parts) if self._protected else self._gather_unchecked(payload, parts)
        if good and not self.device.transmit(parts):
            self.drops[Drop.DEVICE] += 1

    def _gather(self, source: int, payload: list[int], parts: list[Buffer]) -> bool:
        """Append what is to be sent; False if a part is not the sender's header, an application's payload, or current.

        One pass: what is checked is what is sent.
        """
        self._checked.descriptors += len(payload) >> 1
        fault: Fault | None = Fault.BOUNDS if len(payload) & 1 == 0 else None
        for i in range(1, len(payload) - 1, 2):
            place, lease = payload[i], payload[i + 1]
            number = lease >> 48
            partition = self._partitions.get(number)
            if not (number >> INDEX_BITS == source if i == 1 else number & INDEX_MASK == APP_INDEX):
                fault = Fault.PARTITION
            elif partition is None:
                fault = self._foreign.missing(number)
            else:
                fault = fault or partition.check(place, lease)
                parts.append(partition.view[place >> 32 : (place >> 32) + (place & LOW32)])
            if fault is not None:
                self._faults.report(source, fault, tags.TX)
                return False
        return True

    def _gather_unchecked(self, payload: list[int], parts: list[Buffer]) -> bool:
        """Append what is to be sent, whoever says so (the unprotected mode)."""
        partitions = self._partitions
        try:
            for i in range(1, len(payload), 2):
                place = payload[i]
                offset = place >> 32
                parts.append(partitions[payload[i + 1] >> 48].view[offset : offset + (place & LOW32)])
        except (KeyError, IndexError):
            self.drops[Drop.DESCRIPTOR] += 1
            return False
        return True

    def _release(self, source: int, payload: list[int], _now: int) -> None:
        if not self.memory.leases:
            self._release_unchecked(payload)
            return
        self._checked.leases += len(payload)
        release = self.memory.release
        for word in payload:
            fault = release(word, source)
            if fault is not None:
                self._faults.report(source, fault, tags.RELEASE)

    def _release_unchecked(self, payload: list[int]) -> None:
        release = self.memory.release_unchecked
        try:
            for word in payload:
                release(word)
        except (KeyError, IndexError):
            self.drops[Drop.DESCRIPTOR] += 1

    # --- links --------------------------------------------------------------------------------------------------

    def changed(self, peer: Peer) -> None:
        """A stack tile that went holds nothing any more."""
        if not peer.up:
            self.memory.reclaim(peer.number)
        if self._withdrawal is not None and peer.up:
            self._withdrawal.tell(peer)
        elif self._withdrawal is not None:
            self._withdrawal.answered(peer.number)
            self._withdrawal.step()
        self.redirect.repair()

    def admit(self, peer: Peer) -> None:
        """A stack tile has joined the mesh."""
        self.dispatch.admit(peer)
        self._targets[peer.number] = self._target(peer)

    def dismiss(self, peer: Peer) -> None:
        """It has left."""
        self.dispatch.dismiss(peer)
        del self._targets[peer.number]
        self._done.pop(peer.number, None)

    def assign(self, owners: bytes) -> None:
        """Stack tiles tell which buckets they give away (STEER); those of tiles that are gone are seen to here."""
        self.redirect.assign(owners)

    def retire(self) -> None:
        """Leave the wire to other driver tiles (`withdrawal`)."""
        if self._withdrawal is None:
            self._withdrawal = Withdrawal(
                self.device, self.memory, self._clock, self._stacks, self.readable, self._flush_all
            )
            self._withdrawal.start()

    def _stacks(self) -> list[Peer]:
        return [target.peer for target in self._targets.values()]

    def _withdrawn(self, source: int, _payload: list[int], _now: int) -> None:
        if self._withdrawal is not None:
            self._withdrawal.answered(source)
            self._withdrawal.step()

    @property
    def retired(self) -> bool:
        """Whether the queue is detached and nobody reads this tile's memory any more."""
        return self._withdrawal is not None and self._withdrawal.state == DONE

    def close(self) -> None:
        """Give the device up."""
        self.device.close()
