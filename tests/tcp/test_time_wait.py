"""The record that stands for a connection in TIME_WAIT."""

from __future__ import annotations

import pytest

from dlibos_node.tcp.time_wait import ANSWER, IGNORE, REUSE, TimeWait
from dlibos_node.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.tcp.dialogue import OUR_ISS, PEER_ISS, time_wait

WAIT = 60_000_000


def record() -> TimeWait:
    return TimeWait(100, 200, 5, 1_000)


@pytest.mark.parametrize(
    ("seq", "flags", "length", "verdict"),
    [
        (200, RST, 0, IGNORE),
        (200, ACK, 0, IGNORE),
        (199, ACK, 0, ANSWER),
        (150, ACK | PSH, 10, ANSWER),
        (199, ACK | FIN, 0, ANSWER),
        (201, SYN, 0, REUSE),
        (200, SYN, 0, ANSWER),
        (0xFFFFFFF0, SYN, 0, ANSWER),
        (201, SYN | ACK, 0, ANSWER),
    ],
)
def test_verdicts(seq: int, flags: int, length: int, verdict: int) -> None:
    assert record().on_segment(seq, flags, length, 500, WAIT) == verdict


def test_fin_begins_a_new_wait_and_nothing_else_does() -> None:
    waiting = record()
    waiting.on_segment(150, ACK, 10, 500, WAIT)
    assert waiting.expiry == 1_000
    waiting.on_segment(199, ACK | FIN, 0, 500, WAIT)
    assert waiting.expiry == 500 + WAIT


def test_answer_says_where_things_stood() -> None:
    answer = record().answer()
    assert (answer.seq, answer.ack, answer.flags, answer.window, answer.length) == (100, 200, ACK, 5, 0)


def test_record_of_a_connection() -> None:
    d = time_wait()
    waiting = TimeWait.of(d.connection)
    assert waiting.expiry == d.connection.deadline
    # Behind SYN and FIN of either side; the initial numbers are chosen close to the wrap.
    assert (waiting.snd_nxt, waiting.rcv_nxt) == ((OUR_ISS + 2) & 0xFFFFFFFF, (PEER_ISS + 2) & 0xFFFFFFFF)
    assert waiting.window > 0
