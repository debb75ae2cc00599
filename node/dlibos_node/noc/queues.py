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
        reason = _parse(words, message.route(peer.me, peer.number), peer.number, staged)
        if reason is None:
            reason = self._charge(peer, staged)
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

    @staticmethod
    def _charge(peer: Peer, staged: list[list[Message]]) -> Refusal | None:
        sizes = [sum([len(m[2]) for m in arrived]) + len(arrived) for arrived in staged]
        for queue, size in enumerate(sizes):
            if peer.held[queue] + peer.owed[queue] + size > peer.capacity:
                return Refusal.CREDIT
        for queue, size in enumerate(sizes):
            peer.held[queue] += size
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


def _parse(words: list[int], route: int, source: int, staged: list[list[Message]]) -> Refusal | None:
    at, end = 0, len(words)
    while at < end:
        head = words[at]
        after = at + 1 + (head & message.LENGTH_MASK)
        queue = head >> message.QUEUE_SHIFT & 0xFF
        if head >> message.ROUTE_SHIFT != route:
            return Refusal.ROUTE
        if head & 0xFF > message.MAX_WORDS:
            return Refusal.LENGTH
        if queue >= message.QUEUES:
            return Refusal.QUEUE
        if after > end:
            return Refusal.TRUNCATED
        staged[queue].append((source, head >> message.TAG_SHIFT & 0xFFFF, words[at + 1 : after]))
        at = after
    return None
