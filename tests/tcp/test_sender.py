"""Sending: segment sizes, windows, retransmission, recovery, probes."""

from __future__ import annotations

import pytest
from dlibos_node.tcp import event
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.segment import MAX_SPANS
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Drop
from dlibos_node.tcp.timers import NEVER

from tests.tcp.dialogue import MSS, WINDOW, Dialogue, established

NO_TSO = TcpConfig(receive_buffer=WINDOW, mss=MSS, gso_max=0)
IW = 10 * MSS


def bulk(segments: int, *, window: int = WINDOW) -> Dialogue:
    """Established, without TSO, `segments` full segments sent."""
    d = established(NO_TSO, window=window).write(segments * MSS)
    for index in range(min(segments, 10)):
        d.expect("A", seq=index * MSS, length=MSS)
    d.expect_nothing()
    return d


def test_one_write_is_one_segment() -> None:
    d = established().write(300)
    segment = d.expect("PA", seq=0, ack=0, length=300)
    assert len(segment.spans) == 1
    d.expect_nothing()
    assert (d.connection.unsent, d.connection.unacknowledged) == (0, 300)


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


def test_super_segment_is_a_multiple_of_the_mss_unless_it_is_the_last() -> None:
    d = established(TcpConfig(receive_buffer=WINDOW, mss=MSS, gso_max=4_500)).write(9_700)
    d.expect("A", seq=0, length=4_000)
    d.expect("A", seq=4_000, length=4_000)
    segment = d.expect("PA", seq=8_000, length=1_700)
    assert segment.mss == MSS
    d.expect_nothing()


def test_small_spans_share_a_segment_up_to_sixteen() -> None:
    d = established(window=0)
    for _ in range(20):
        d.write(10)
    d.expect_nothing().send("A", window=WINDOW)
    assert len(d.expect("A", seq=0, length=160).spans) == MAX_SPANS
    assert len(d.expect("PA", seq=160, length=40).spans) == 4


def test_initial_window_is_ten_segments() -> None:
    d = bulk(30)
    d.send("A", ack=2 * MSS)
    for index in range(4):
        d.expect("A", seq=(10 + index) * MSS, length=MSS)
    d.expect_nothing()


def test_peers_window_is_respected() -> None:
    d = established(NO_TSO, window=2_500).write(4_000)
    d.expect("A", seq=0, length=MSS)
    d.expect("A", seq=MSS, length=MSS)
    d.expect_nothing()
    d.send("A", window=2_500).expect("A", seq=2 * MSS, length=MSS)
    d.expect("PA", seq=3 * MSS, length=MSS)


def test_old_segment_does_not_bring_an_old_window() -> None:
    d = established().send("PA", data=b"hello", window=30_000)
    d.send("A", seq=0, window=10)
    assert d.connection.snd_wnd == 30_000


def test_nagle_holds_a_small_segment_while_another_is_in_flight() -> None:
    d = established(TcpConfig(receive_buffer=WINDOW, mss=MSS, nodelay=False)).write(100)
    d.expect("PA", length=100)
    d.write(100).write(100).expect_nothing().send("A")
    d.expect("PA", seq=100, length=200)


def test_nodelay_sends_small_segments_at_once() -> None:
    d = established().write(100).write(100)
    d.expect("PA", seq=0, length=100)
    d.expect("PA", seq=100, length=100)


def test_time_out_sends_one_segment_and_backs_off() -> None:
    d = bulk(4)
    times = []
    for _ in range(3):
        times.append(d.expire())
        d.expect("A", seq=0, length=MSS)
        d.expect_nothing()
    assert times == [times[0], 2 * times[0], 4 * times[0]]
    assert d.connection.statistics.timeouts == 3


def test_slow_start_after_a_time_out() -> None:
    d = bulk(8)
    d.expire()
    d.expect("A", seq=0, length=MSS)
    d.send("A", ack=MSS)
    d.expect("A", seq=MSS, length=MSS)
    d.expect("A", seq=2 * MSS, length=MSS)
    d.expect_nothing()
    assert d.connection.congestion.ssthresh == 4 * MSS


def test_ack_for_more_than_was_resent_goes_on_behind_it() -> None:
    d = bulk(8)
    d.expire()
    d.expect("A", seq=0, length=MSS)
    d.send("A", ack=7 * MSS).happened((event.ACKED, 7 * MSS))
    d.expect("PA", seq=7 * MSS, length=MSS)
    d.expect_nothing()


def test_karn_no_sample_from_a_retransmitted_segment() -> None:
    d = bulk(1)
    before = d.connection.rto.srtt
    d.expire()
    d.expect("PA", length=MSS)
    d.wait(50).send("A")
    assert d.connection.rto.srtt == before


def test_gives_up_after_the_last_retry() -> None:
    d = established(TcpConfig(receive_buffer=WINDOW, mss=MSS, retries=2)).write(10)
    for _ in range(3):
        d.expect("PA", seq=0, length=10)
        d.expire()
    d.expect_nothing().happened((event.CLOSED, event.TIMEOUT))
    assert d.connection.deadline == NEVER


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


def test_closed_window_is_probed_with_back_off_until_it_opens() -> None:
    d = established(window=0).write(100).expect_nothing()
    rto = d.connection.rto.rto
    for factor in (1, 2, 4):
        assert d.expire() == factor * rto
        d.expect("A", seq=0, length=1)
        d.send("A", ack=0, window=0).expect_nothing()
    d.send("A", ack=0, window=WINDOW).expect("PA", seq=0, length=100)
    assert d.connection.persist_at == NEVER


def test_accepted_probe_byte_is_not_sent_again() -> None:
    d = established(window=0).write(100)
    d.expire()
    d.expect("A", seq=0, length=1)
    d.send("A", ack=1, window=0).happened((event.ACKED, 1)).expect_nothing()
    d.send("A", ack=1, window=WINDOW).expect("PA", seq=1, length=99)


def test_probing_goes_on_for_ever_while_the_peer_answers() -> None:
    d = established(TcpConfig(receive_buffer=WINDOW, mss=MSS, retries=2), window=0).write(100)
    for _ in range(10):
        d.expire()
        d.expect("A", length=1)
        d.send("A", ack=0, window=0)
    d.happened()


def test_probing_ends_when_the_peer_is_silent() -> None:
    d = established(TcpConfig(receive_buffer=WINDOW, mss=MSS, retries=2), window=0).write(100)
    for _ in range(2):
        d.expire()
        d.expect("A", length=1)
    d.expire()
    d.expect_nothing().happened((event.CLOSED, event.TIMEOUT))


def test_window_that_stays_small_is_filled_after_a_while() -> None:
    d = established(NO_TSO, window=WINDOW).send("A", window=500).write(2_000).expect_nothing()
    d.expire()
    d.expect("A", seq=0, length=500)


def test_window_that_shrinks_under_data_in_flight_is_probed() -> None:
    d = bulk(4)
    d.send("A", ack=0, window=0).expect_nothing()
    d.expire()
    d.expect_nothing()
    d.expire()
    d.expect("A", seq=0, length=1)
    d.send("A", ack=MSS, window=WINDOW)
    d.expect("A", seq=MSS, length=MSS)


def test_ack_of_what_was_never_sent_is_challenged_and_dropped() -> None:
    d = established().send("A", ack=1, data=b"x").released(b"x").happened()
    d.expect("A", seq=0, ack=0)
    assert d.connection.statistics.drops[Drop.BAD_ACK] == 1


def test_ack_from_long_ago_is_challenged() -> None:
    d = established().send("A", ack=-WINDOW - 1)
    d.expect("A", seq=0)
    assert d.connection.statistics.challenge_acks == 1


def test_congestion_window_restarts_after_idleness() -> None:
    d = established(NO_TSO)
    d.connection.congestion.cwnd = 40 * MSS
    d.wait(10_000_000).write(30 * MSS)
    assert len(d.connection.outbox) == IW // MSS


def test_unused_congestion_window_does_not_grow() -> None:
    d = established()
    for _ in range(20):
        d.write(100).expect("PA", length=100)
        d.send("A")
    assert d.connection.congestion.cwnd == IW


def test_send_after_shutdown_is_refused_and_counted() -> None:
    d = established().shutdown()
    d.expect("FA")
    d.connection.send(Span(b"late", 0, 4), d.now)
    d.expect_nothing()
    assert d.connection.statistics.drops[Drop.SEND_CLOSED] == 1
