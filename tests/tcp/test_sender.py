"""Sending: segment sizes, windows, Nagle, what is refused."""

from __future__ import annotations

from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.segment import MAX_SPANS
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Drop
from tests.tcp.dialogue import MSS, NO_TSO, WINDOW, bulk, established

IW = 10 * MSS


def test_one_write_is_one_segment() -> None:
    d = established().write(300)
    segment = d.expect("PA", seq=0, ack=0, length=300)
    assert len(segment.spans) == 1
    d.expect_nothing()
    assert (d.connection.unsent, d.connection.unacknowledged) == (0, 300)


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


def test_nagle_holds_a_small_segment_while_another_is_in_flight() -> None:
    d = established(TcpConfig(receive_buffer=WINDOW, mss=MSS, nodelay=False)).write(100)
    d.expect("PA", length=100)
    d.write(100).write(100).expect_nothing().send("A")
    d.expect("PA", seq=100, length=200)


def test_nodelay_sends_small_segments_at_once() -> None:
    d = established().write(100).write(100)
    d.expect("PA", seq=0, length=100)
    d.expect("PA", seq=100, length=100)


def test_congestion_window_restarts_after_idleness() -> None:
    d = established(NO_TSO)
    d.connection.congestion.cwnd = 40 * MSS
    d.wait(10_000_000).write(30 * MSS)
    assert len(d.connection.outbox) == IW // MSS


def test_send_after_shutdown_is_refused_and_counted() -> None:
    d = established().shutdown()
    d.expect("FA")
    d.connection.send(Span(b"late", 0, 4), d.now)
    d.expect_nothing()
    assert d.connection.statistics.drops[Drop.SEND_CLOSED] == 1
