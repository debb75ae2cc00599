"""Demux queues, credits, and what is refused."""

from __future__ import annotations

import random

import pytest

from dlibos_node.noc import message
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues, Refusal

CAPACITY = 256


class Pair:
    """Two tiles and the frames between them."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.a = Peer(1, 2, capacity=capacity)  # what tile 1 knows of tile 2
        self.b = Peer(2, 1, capacity=capacity)
        self.a.connected([capacity] * 4)
        self.b.connected([capacity] * 4)
        self.queues = Queues()  # of tile 2

    def carry(self) -> int:
        words = self.a.take()
        if words:
            assert self.queues.accept(self.b, words) is None
        return len(words)

    def give_back(self, *, anyway: bool = False) -> None:
        owed = self.b.take_owed(anyway=anyway)
        if owed:
            self.a.grant(owed)


def test_messages_arrive_in_order_per_queue_with_the_link_s_source() -> None:
    pair = Pair()
    for number in range(10):
        pair.a.post(number % 4, 7, number, number * 2)
    pair.carry()
    for queue in range(4):
        taken = pair.queues.drain(queue)
        assert taken == [(1, 7, [n, n * 2]) for n in range(10) if n % 4 == queue]


def test_a_slow_receiver_stops_its_sender_and_nothing_is_lost() -> None:
    pair = Pair()
    for number in range(1000):
        pair.a.post(0, 1, number)
    while pair.carry():
        pass
    assert pair.queues.depth(0) == CAPACITY // 2  # two words each
    assert pair.a.statistics.stalls > 0
    received: list[int] = []
    while len(received) < 1000:
        received += [payload[0] for _, _, payload in pair.queues.drain(0)]
        pair.give_back()
        pair.carry()
    assert received == list(range(1000))


def test_a_full_queue_holds_up_only_itself() -> None:
    pair = Pair()
    for _ in range(1000):
        pair.a.post(0, 1, 0)
    pair.a.post(3, 2, 5)
    pair.carry()
    assert pair.queues.drain(3) == [(1, 2, [5])]


def test_a_slow_receiver_does_not_stop_other_senders() -> None:
    pair = Pair()
    other_end = Peer(3, 2, capacity=CAPACITY)
    other = Peer(2, 3, capacity=CAPACITY)
    other_end.connected([CAPACITY] * 4)
    other.connected([CAPACITY] * 4)
    for _ in range(1000):
        pair.a.post(0, 1, 0)
    while pair.carry():
        pass
    other_end.post(0, 1, 9)
    assert pair.queues.accept(other, other_end.take()) is None
    assert (3, 1, [9]) in pair.queues.drain(0)


def test_random_traffic_never_deadlocks_and_every_credit_comes_back() -> None:
    """Both sides send at random, take at random, and answer each message: all of it arrives."""
    roll = random.Random(7)
    pair = Pair()
    back = Queues()
    sent, got, answered = 0, 0, 0
    while answered < 3000:
        for _ in range(roll.randrange(20)):
            if sent < 3000:
                pair.a.post(roll.randrange(4), 1, *range(roll.randrange(127)))
                sent += 1
        pair.carry()
        for queue in roll.sample(range(4), roll.randrange(5)):
            for _message in pair.queues.drain(queue):
                got += 1
                pair.b.post(queue, 2, got)
        words = pair.b.take()
        if words:
            assert back.accept(pair.a, words) is None
        for queue in roll.sample(range(4), roll.randrange(5)):
            answered += len(back.drain(queue))
        pair.give_back(anyway=bool(words))
        owed = pair.a.take_owed(anyway=True)
        if owed:
            pair.b.grant(owed)
    pair.give_back(anyway=True)
    assert (sent, got, answered) == (3000, 3000, 3000)
    assert pair.a.credits == [CAPACITY] * 4


def test_credits_wait_for_a_frame_until_half_a_queue_is_owed() -> None:
    pair = Pair()
    for _ in range(CAPACITY // 4 - 1):
        pair.a.post(0, 1, 0)
    pair.carry()
    pair.queues.drain(0)
    assert pair.b.take_owed(anyway=False) == []
    pair.a.post(0, 1, 0)
    pair.carry()
    pair.queues.drain(0)
    assert pair.b.take_owed(anyway=False) == [CAPACITY // 2, 0, 0, 0]


def word(length: int, *, queue: int = 0, source: int = 1, destination: int = 2) -> int:
    return message.header(destination, source, 1, queue, length)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([word(127), *range(127)], Refusal.LENGTH),
        ([word(1, queue=4), 0], Refusal.QUEUE),
        ([word(1, queue=255), 0], Refusal.QUEUE),
        ([word(2), 0], Refusal.TRUNCATED),
        ([word(0, source=3)], Refusal.ROUTE),
        ([word(0, destination=1)], Refusal.ROUTE),
        ([word(1), 0, word(0, source=9)], Refusal.ROUTE),
        ([word(126), *range(126)] * 3, Refusal.CREDIT),
    ],
)
def test_a_bad_frame_is_refused_whole_and_counted(words: list[int], reason: Refusal) -> None:
    pair = Pair()
    assert pair.queues.accept(pair.b, words) is reason
    assert pair.queues.refused == {reason: 1}
    assert [pair.queues.depth(queue) for queue in range(4)] == [0, 0, 0, 0]


def test_a_message_of_126_words_passes() -> None:
    pair = Pair()
    pair.a.post(2, 1, *range(126))
    pair.carry()
    assert pair.queues.drain(2) == [(1, 1, list(range(126)))]


def test_a_new_link_starts_with_fresh_credits_and_an_empty_outbox() -> None:
    pair = Pair()
    for _ in range(1000):
        pair.a.post(0, 1, 0)
    pair.carry()
    pair.a.lost()
    pair.a.connected([CAPACITY] * 4)
    assert pair.a.credits == [CAPACITY] * 4
    assert pair.a.take() == []


def test_a_payload_word_that_looks_like_a_header_is_none() -> None:
    pair = Pair()
    head = pair.a.header(7, 1, 2)
    for payload in ([head, head], [head, 0], [0, head], []):
        pair.a.post(1, 7, *payload)
        pair.a.post(1, 7, head, head)
    pair.carry()
    payloads = [payload for _, _, payload in pair.queues.drain(1)]
    assert payloads == [[head, head], [head] * 2, [head, 0], [head] * 2, [0, head], [head] * 2, [], [head] * 2]
