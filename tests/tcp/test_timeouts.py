"""Retransmission time-outs and window probes."""

from __future__ import annotations

from dlibos_node.tcp import event
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.timers import NEVER
from tests.tcp.dialogue import MSS, NO_TSO, WINDOW, bulk, established


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


def test_probe_of_the_last_byte_ends_probing() -> None:
    d = established(window=0).write(1)
    d.expire()
    d.expect("A", seq=0, length=1)
    d.send("A", ack=1, window=0).happened((event.ACKED, 1))
    assert d.connection.deadline == NEVER
