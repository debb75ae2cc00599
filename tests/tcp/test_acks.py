"""ACKs: progress, duplicates, recovery, windows, and those that cannot be right."""

from __future__ import annotations

from collections import deque

import pytest

from dlibos_node.tcp import acks, event
from dlibos_node.tcp.statistics import Drop
from dlibos_node.tcp.timers import NEVER
from tests.tcp.dialogue import MSS, WINDOW, bulk, established

IW = 10 * MSS


def test_acknowledged_bytes_are_reported_and_the_timer_stops() -> None:
    d = established().write(300)
    d.expect("PA", length=300)
    d.send("A").happened((event.ACKED, 300)).expect_nothing()
    assert d.connection.deadline == NEVER
    assert d.connection.unacknowledged == 0


def test_partial_ack_is_reported_and_the_timer_restarts() -> None:
    d = established().write(300)
    d.expect("PA", length=300)
    d.wait(100_000).send("A", ack=100).happened((event.ACKED, 100))
    assert d.connection.retransmit_at == d.now + d.connection.rto.rto
    assert d.connection.unacknowledged == 200


def test_old_segment_does_not_bring_an_old_window() -> None:
    d = established().send("PA", data=b"hello", window=30_000)
    d.send("A", seq=0, window=10)
    assert d.connection.snd_wnd == 30_000


def test_three_duplicate_acks_resend_the_lost_segment() -> None:
    d = bulk(10)
    d.send("A", ack=MSS)
    for _ in range(2):
        d.send("A", ack=MSS).expect_nothing()
    d.send("A", ack=MSS).expect("A", seq=MSS, length=MSS)
    d.expect_nothing()
    assert d.connection.statistics.fast_retransmits == 1
    assert d.connection.congestion.ssthresh == 9 * MSS // 2


def test_first_two_duplicate_acks_let_new_segments_go() -> None:
    d = bulk(14)
    for index in range(2):
        d.send("A", ack=0).expect("A", seq=(10 + index) * MSS, length=MSS)
    d.send("A", ack=0).expect("A", seq=0, length=MSS)
    d.expect_nothing()


def test_partial_ack_in_recovery_resends_the_next_hole() -> None:
    d = bulk(10)
    for _ in range(3):
        d.send("A", ack=0)
    d.expect("A", seq=0, length=MSS)
    d.send("A", ack=4 * MSS).expect("A", seq=4 * MSS, length=MSS)
    assert d.connection.dup_acks == 3
    d.send("A", ack=10 * MSS).expect_nothing()
    assert d.connection.dup_acks == 0
    assert d.connection.congestion.cwnd <= d.connection.congestion.ssthresh


def test_loss_right_behind_a_recovery_is_repaired_without_a_time_out() -> None:
    d = bulk(20)
    for _ in range(3):
        d.send("A", ack=0)
    d.connection.outbox.clear()
    d.send("A", ack=12 * MSS)
    d.connection.outbox.clear()
    assert not d.connection.recovering
    for _ in range(3):
        d.send("A", ack=12 * MSS)
    assert d.connection.snd_una in [segment.seq for segment in d.connection.outbox]
    assert d.connection.statistics.fast_retransmits == 2


@pytest.mark.parametrize(("data", "window"), [(b"x", WINDOW), (b"", WINDOW - 1)])
def test_not_every_repeated_ack_is_a_duplicate_ack(data: bytes, window: int) -> None:
    d = bulk(4)
    for step in range(4):
        d.send("A", ack=0, data=data, window=window - step * (window != WINDOW))
    assert d.connection.dup_acks == 0


def test_ack_of_what_was_never_sent_is_challenged_and_dropped() -> None:
    d = established().send("A", ack=1, data=b"x").released(b"x").happened()
    d.expect("A", seq=0, ack=0)
    assert d.connection.statistics.drops[Drop.BAD_ACK] == 1


def test_ack_from_long_ago_is_challenged() -> None:
    d = established().send("A", ack=-WINDOW - 1)
    d.expect("A", seq=0)
    assert d.connection.statistics.challenge_acks == 1


def test_unused_congestion_window_does_not_grow() -> None:
    d = established()
    for _ in range(20):
        d.write(100).expect("PA", length=100)
        d.send("A")
    assert d.connection.congestion.cwnd == IW


def test_recovery_restarts_the_timer_and_deflates_the_window_by_what_was_acknowledged() -> None:
    d = bulk(10)
    d.wait(100_000)
    for _ in range(3):
        d.send("A", ack=0)
    assert d.connection.retransmit_at == d.now + d.connection.rto.rto
    # Half the flight, and three segments that have left the network.
    assert d.connection.congestion.cwnd == 8 * MSS
    d.send("A", ack=2 * MSS)
    assert d.connection.congestion.cwnd == 7 * MSS


def test_round_trip_time_is_measured_on_answers() -> None:
    d = established().wait(100)
    for _ in range(2):
        d.write(100).expect("PA", length=100)
        d.wait(80_000).send("A")
    assert d.connection.rto.srtt == 80_000 * (1 - (7 / 8) ** 2)


def everything(t: object) -> object:
    """All that an object holds, objects in it included, as something to compare."""
    if isinstance(t, list | tuple | deque):
        return [everything(item) for item in t]
    if t is None or isinstance(t, int | bytes):
        return t
    held = {name: getattr(t, name) for name in dir(t) if not name.startswith("_")}  # compiled classes have no slots
    return {name: everything(value) for name, value in held.items() if not callable(value)}


@pytest.mark.parametrize("sizes", [(1,), (300, 200), (9 * MSS,), (MSS, 2 * MSS, 3 * MSS)])
@pytest.mark.parametrize("passed", [0, 30_000])
def test_the_short_way_for_an_ack_of_everything_is_the_long_way(sizes: tuple[int, ...], passed: int) -> None:
    long, short = established(), established()
    for d in (long, short):
        for size in sizes:
            d.write(size)
        d.now += passed
    t = short.connection
    arguments = (t.rcv_nxt, t.snd_max, 4000)
    assert acks.on_ack(long.connection, *arguments, True, long.now)
    acks.all_of_it(t, *arguments, short.now)
    assert everything(t) == everything(long.connection)
    assert t.events == [(event.ACKED, sum(sizes))]
    assert t.deadline == NEVER
