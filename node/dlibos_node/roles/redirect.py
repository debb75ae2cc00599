"""What a driver tile does for stack tiles that hand buckets and receive buffers to each other: STEER and PASS.

A stack tile may give away what is its own, and nothing else: a bucket that the table says it has, a lease it holds.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Mapping

from dlibos_node.memory.fault import Fault
from dlibos_node.noc import tags
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.roles.reception import Reception
from dlibos_node.roles.steering import Steering


class Drop(enum.Enum):
    """Why a message was not obeyed, without a breach; the value is the metric's label."""

    STALE_STEER = "bucket_moved_on"  # a correction that came too late


class Redirect:
    """`peers` are the stack tiles; `flush` sends what waits for one."""

    def __init__(
        self,
        steering: Steering,
        memory: Reception,
        faults: Faults,
        peers: Callable[[], Mapping[int, Peer]],
        flush: Callable[[int], None],
        *,
        protected: bool,
    ) -> None:
        self.drops: Counter[Drop] = Counter()
        self._steering = steering
        self._memory = memory
        self._faults = faults
        self._peers = peers
        self._flush = flush
        self._protected = protected
        self._owners = bytes(steering.buckets)

    def on_steer(self, source: int, payload: list[int], _now: int) -> None:
        """STEER: the answer goes behind all frames that were steered to the sender, whatever came of the message."""
        serial, target, buckets = payload[0], payload[1], tags.buckets_of(payload[2:])
        if target not in self._peers():
            self._faults.report(source, Fault.BUCKET, tags.STEER)
        else:
            self._steer(source, target, buckets, serial)
        if serial:
            self._peers()[source].post(tags.EVENTS, tags.STEERED, serial)
        self._flush(source)

    def _steer(self, source: int, target: int, buckets: list[int], serial: int) -> None:
        table = self._steering.buckets
        for bucket in buckets:
            owner = table[bucket] if bucket < len(table) else -1
            if owner == source or (owner >= 0 and not self._protected):
                table[bucket] = target
            elif owner != target and (serial or owner < 0):
                self._faults.report(source, Fault.BUCKET, tags.STEER)
                return
            elif owner != target:
                self.drops[Drop.STALE_STEER] += 1

    def on_pass(self, source: int, payload: list[int], _now: int) -> None:
        """PASS: to a tile that is not there nothing can be passed: it is as if that had died holding it."""
        target, words = payload[0], payload[1:]
        peer = self._peers().get(target)
        if peer is None:
            self._faults.report(source, Fault.HOLDER, tags.PASS)
            return
        passed = [word for word in words if self._pass(source, word, target)] if self._memory.leases else words
        if peer.up:
            peer.post(tags.RELEASES, tags.PASSED, source, *passed)
            self._flush(target)
        elif self._memory.leases:
            self._memory.reclaim(target)

    def _pass(self, source: int, word: int, target: int) -> bool:
        fault = self._memory.pass_on(word, source, target)
        if fault is not None:
            self._faults.report(source, fault, tags.PASS)
        return fault is None

    def assign(self, owners: bytes) -> None:
        """The orchestrator wants the buckets so. A stack tile that is there gives its own away itself (STEER)."""
        self._owners = owners
        self.repair()

    def repair(self) -> None:
        """Steer the buckets of stack tiles that are not there to whom they are to belong."""
        peers, table = self._peers(), self._steering.buckets
        there = {number for number, peer in peers.items() if peer.up}
        for bucket, owner in enumerate(self._owners):
            if table[bucket] not in there and owner in peers:
                table[bucket] = owner
