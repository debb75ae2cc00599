"""What this tile refused to do for others: counted by reason and sender, answered with a FAULT, kept as events."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from dlibos_node.memory.checked import Checked
from dlibos_node.memory.fault import CODES, Fault
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer

EVENTS_KEPT: Final = 256
# Whoever does not take his answers gets no more of them: a flood of bad messages must not fill our memory.
ANSWERS_WAITING: Final = 512  # words


class Event(NamedTuple):
    """One refusal: the sender's tile, the reason, the tag of the message."""

    source: int
    fault: Fault
    tag: int


class Faults:
    """`peers` are the tiles that can be answered, by number."""

    __slots__ = ("_peers", "answered", "checked", "counts", "events", "gone")

    def __init__(self, peers: Mapping[int, Peer]) -> None:
        self._peers = peers
        self.checked = Checked()
        self.counts: Counter[tuple[Fault, int]] = Counter()
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)  # taken by whoever publishes them
        self.gone = 0  # messages that named the memory of a process that has ended
        self.answered: Counter[int] = Counter()  # FAULT messages received, by the tile that refused us

    def report(self, source: int, fault: Fault, tag: int) -> None:
        """Note that a message with `tag` from tile `source` was refused."""
        if fault is Fault.GONE:
            self.gone += 1
            return
        self.counts[fault, source] += 1
        self.events.append(Event(source, fault, tag))
        peer = self._peers.get(source)
        if peer is not None and len(peer.waiting[tags.RELEASES]) < ANSWERS_WAITING:
            peer.post(tags.RELEASES, tags.FAULT, CODES[fault], tag)

    def on_fault(self, source: int, _payload: list[int], _now: int) -> None:
        """FAULT: another tile refused a message of ours."""
        self.answered[source] += 1

    @property
    def total(self) -> int:
        """Messages refused so far."""
        return sum(self.counts.values())
