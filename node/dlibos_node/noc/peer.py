"""What a tile knows of one other tile it talks to: what waits to be sent, the credits of both directions, counts.

Credits are words. The receiver grants `capacity` words per demux queue in its hello; a word sent costs one, a word
taken from the queue gives one back. So what is outstanding never exceeds the queue, nothing is dropped, and a receiver
that stops taking stops this sender only. No deadlock: a tile never waits inside a handler; what has no credit waits in
`waiting`, and what may wait there is bounded by the buffers the sender owns (tmc's rule: bound what is outstanding).
"""

from __future__ import annotations

from dlibos_node.noc import message


class PeerStatistics:
    """Counts of one direction pair; plain integers, read by the metrics collector."""

    __slots__ = ("frames_in", "frames_out", "messages_in", "stalls", "words_in")

    def __init__(self) -> None:
        self.frames_in = 0
        self.frames_out = 0
        self.messages_in = 0  # counted where they arrive: a sender only appends words
        self.words_in = 0
        self.stalls = 0  # times a queue's words had to wait for credit


class Peer:
    """Link state towards tile `number`, without the link."""

    __slots__ = (
        "capacity",
        "credits",
        "held",
        "hops",
        "me",
        "number",
        "owed",
        "role",
        "stalled",
        "statistics",
        "up",
        "waiting",
    )

    def __init__(self, me: int, number: int, *, capacity: int, hops: int = 0, role: str = "") -> None:
        self.me = me
        self.number = number
        self.hops = hops
        self.role = role
        self.capacity = capacity
        self.up = False
        self.stalled = False  # words had to stay behind for want of credit
        self.waiting: list[list[int]] = [[] for _ in range(message.QUEUES)]
        self.credits = [0] * message.QUEUES
        self.held = [0] * message.QUEUES  # words received and still in the demux queue
        self.owed = [0] * message.QUEUES  # words taken from the queue, credit not yet returned
        self.statistics = PeerStatistics()

    def header(self, tag: int, queue: int, length: int) -> int:
        """Return the header word of a message to this peer."""
        return message.header(self.number, self.me, tag, queue, length)

    def post(self, queue: int, tag: int, *payload: int) -> None:
        """Queue one message; roles on their hot path append to `waiting` with headers they keep."""
        self.waiting[queue] += (self.header(tag, queue, len(payload)), *payload)

    def post_all(self, queue: int, tag: int, words: list[int], group: int) -> None:
        """Queue `words` as messages as full as possible, never cutting a group of `group` words; empty the list."""
        step = message.MAX_WORDS // group * group
        for start in range(0, len(words), step):
            self.post(queue, tag, *words[start : start + step])
        words.clear()

    def connected(self, credit: list[int]) -> None:
        """Start afresh with the credits the peer granted in its hello; what waited for an earlier link is void."""
        self.up = True
        self.credits = list(credit)
        self.held = [0] * message.QUEUES
        self.owed = [0] * message.QUEUES
        for queue in self.waiting:
            queue.clear()

    def lost(self) -> None:
        """Forget what was in flight: the link is gone."""
        self.up = False
        self.credits = [0] * message.QUEUES
        for queue in self.waiting:
            queue.clear()

    def take(self) -> list[int]:
        """Return the words that may go out now, as one frame, and pay their credits."""
        words: list[int] = []
        credit = self.credits
        self.stalled = False
        for number, queue in enumerate(self.waiting):
            if not queue:
                continue
            if len(queue) <= credit[number]:
                end = len(queue)
            else:
                end = message.fit(queue, credit[number])
                self.statistics.stalls += 1
                self.stalled = True
            words += queue[:end]
            del queue[:end]
            credit[number] -= end
        return words

    def take_owed(self, *, anyway: bool) -> list[int]:
        """Return the credits to give back: with a frame that goes out `anyway`, or when a queue's half is owed.

        Half is safe: a sender that ran out has at least the other half coming, or words in our queue still.
        """
        owed = self.owed
        if not any(owed) or not (anyway or self.in_debt):
            return []
        self.owed = [0] * message.QUEUES
        return owed

    def outstanding(self, queue: int) -> int:
        """Return how many words were sent to a queue and not yet taken from it, as far as is known here."""
        return self.capacity - self.credits[queue]

    @property
    def in_debt(self) -> bool:
        """Whether so much credit is owed that it must not wait for a frame that goes out anyway."""
        return max(self.owed) * 2 >= self.capacity

    def grant(self, credit: list[int]) -> None:
        """Add credits that came back."""
        for queue, words in enumerate(credit):
            self.credits[queue] += words
