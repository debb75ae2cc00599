"""The four demux queues of a tile, and the check that every arriving frame passes before it gets there."""

from __future__ import annotations

import enum
from collections import Counter

from dlibos_node.noc import message
from dlibos_node.noc.peer import Peer

Message = tuple[int, int, list[int]]
"""Source tile (from the link, never from the message), tag, payload words."""


class Refusal(enum.Enum):
    """Why a frame or a peer was refused; the value is the metric's label."""

    MESH = "wrong_mesh"
    VERSION = "wrong_version"
    TILE = "unknown_tile"
    HELLO = "no_hello"
    LENGTH = "message_too_long"
    TRUNCATED = "message_truncated"
    QUEUE = "unknown_queue"
    ROUTE = "wrong_route"
    CREDIT = "credit_exceeded"
    MEMORY = "memory_not_mapped"  # the peer's messages would name memory that this tile cannot read
    PROOF = "wrong_proof"
    SLOW = "timed_out"
    CROWDED = "too_many_unproved"


class Queues:
    """Where messages wait for the tile's role, in order per source and queue."""

    __slots__ = ("_messages", "_senders", "refused")

    def __init__(self) -> None:
        self._messages: list[list[Message]] = [[] for _ in range(message.QUEUES)]
        self._senders: list[set[Peer]] = [set() for _ in range(message.QUEUES)]
        self.refused: Counter[Refusal] = Counter()

    def accept(self, peer: Peer, words: list[int]) -> Refusal | None:
        """Sort one frame's messages into the queues; on a refusal none of them is delivered."""
        staged: list[list[Message]] = [[], [], [], []]
        sizes = [0] * message.QUEUES
        reason = _parse(words, message.route(peer.me, peer.number), peer.number, staged, sizes)
        if reason is None:
            reason = _charge(peer, sizes)
        if reason is not None:
            self.refused[reason] += 1
            return reason
        statistics = peer.statistics
        statistics.frames_in += 1
        statistics.words_in += len(words)
        for queue, arrived in enumerate(staged):
            if arrived:
                statistics.messages_in += len(arrived)
                self._messages[queue] += arrived
                self._senders[queue].add(peer)
        return None

    def drain(self, queue: int) -> list[Message]:
        """Take all messages of one queue; their senders get the credits back with the next frame."""
        taken = self._messages[queue]
        if taken:
            self._messages[queue] = []
            for peer in self._senders[queue]:
                peer.owed[queue] += peer.held[queue]
                peer.held[queue] = 0
            self._senders[queue].clear()
        return taken

    def depth(self, queue: int) -> int:
        """Return the number of messages that wait in a queue."""
        return len(self._messages[queue])


def _parse(words: list[int], route: int, source: int, staged: list[list[Message]], sizes: list[int]) -> Refusal | None:
    """Cut a frame into its messages. One header after another is the same, nearly always: each run is examined once."""
    at, end = 0, len(words)
    while at < end:
        head = words[at]
        reason = _examine(head, route)
        if reason is not None:
            return reason
        queue, tag, step = head >> message.QUEUE_SHIFT & 0xFF, head >> message.TAG_SHIFT & 0xFFFF, (head & 0xFF) + 1
        start = at
        while at < end and words[at] == head:
            at += step
        if at > end:
            return Refusal.TRUNCATED
        staged[queue] += [(source, tag, words[i + 1 : i + step]) for i in range(start, at, step)]
        sizes[queue] += at - start
    return None


def _examine(head: int, route: int) -> Refusal | None:
    if head >> message.ROUTE_SHIFT != route:
        return Refusal.ROUTE
    if head & 0xFF > message.MAX_WORDS:
        return Refusal.LENGTH
    return Refusal.QUEUE if head >> message.QUEUE_SHIFT & 0xFF >= message.QUEUES else None


def _charge(peer: Peer, sizes: list[int]) -> Refusal | None:
    """Count `sizes` words by queue against the credits `peer` has, if it has them."""
    for queue, size in enumerate(sizes):
        if peer.held[queue] + peer.owed[queue] + size > peer.capacity:
            return Refusal.CREDIT
    for queue, size in enumerate(sizes):
        peer.held[queue] += size
    return None
