"""Reception: order, overlap, windows, delayed ACKs, and where every span ends."""

from __future__ import annotations

import pytest

from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.statistics import Drop
from tests.tcp.dialogue import MSS, WINDOW, Dialogue, established, fin_wait_1, fin_wait_2

DELAYED_ACK = 40_000


def drops(d: Dialogue, reason: Drop) -> int:
    return d.connection.statistics.drops[reason]


def test_small_segment_is_delivered_and_acknowledged_later() -> None:
    d = established().send("PA", data=b"hello").happened((event.DATA, b"hello")).expect_nothing()
    assert d.expire() == DELAYED_ACK
    d.expect("A", ack=5, window=WINDOW - 5)
    d.expect_nothing()


def test_second_full_segment_is_acknowledged_at_once() -> None:
    d = established().send("A", data=bytes(MSS)).expect_nothing().send("A", data=bytes(MSS))
    d.expect("A", ack=2 * MSS)
    d.expect_nothing()


def test_merged_segment_counts_as_several() -> None:
    established().send("A", data=bytes(3 * MSS)).expect("A", ack=3 * MSS)


def test_answer_carries_the_ack() -> None:
    d = established().send("PA", data=b"hello").write(100)
    d.expect("PA", seq=0, ack=5, length=100)
    assert d.connection.ack_at > d.connection.retransmit_at


def test_gap_is_answered_at_once_and_filled() -> None:
    d = established().send("A", seq=5, data=b"world").happened()
    d.expect("A", ack=0)
    d.send("A", seq=0, data=b"hello").happened((event.DATA, b"hello"), (event.DATA, b"world"))
    d.expect("A", ack=10)
    assert d.connection.statistics.out_of_order == 1


def test_partly_filled_gap_is_acknowledged_at_once() -> None:
    d = established().send("A", seq=20, data=b"last")
    d.expect("A", ack=0)
    d.send("A", seq=0, data=b"first").happened((event.DATA, b"first")).expect("A", ack=5)


def test_duplicate_goes_back_and_is_acknowledged() -> None:
    d = established().send("PA", data=b"hello").send("PA", seq=0, data=b"hello").released(b"hello")
    d.expect("A", ack=5)
    assert drops(d, Drop.DUPLICATE) == 1


def test_overlap_is_trimmed_on_the_left() -> None:
    d = established().send("A", data=b"hello").send("A", seq=3, data=b"lo world")
    d.happened((event.DATA, b"hello"), (event.DATA, b" world")).released().expect("A", ack=11)


def test_held_spans_that_overlap_are_trimmed_or_given_back() -> None:
    d = established()
    for seq, data in ((4, b"efgh"), (2, b"cdef"), (5, b"fg")):
        d.send("A", seq=seq, data=data).expect("A", ack=0)
    d.released(b"fg").send("A", seq=0, data=b"ab")
    d.happened((event.DATA, b"ab"), (event.DATA, b"cdef"), (event.DATA, b"gh")).expect("A", ack=8)


def test_held_span_that_a_later_one_covers_goes_back_when_delivered() -> None:
    d = established().send("A", seq=3, data=b"d").send("A", seq=2, data=b"cdef").send("A", seq=0, data=b"ab")
    d.happened((event.DATA, b"ab"), (event.DATA, b"cdef")).released(b"d")


def test_payload_is_trimmed_to_the_window() -> None:
    d = established(TcpConfig(receive_buffer=10, mss=MSS)).send("A", data=b"0123456789abc")
    d.happened((event.DATA, b"0123456789")).expect("A", ack=10, window=0)


def test_payload_beyond_the_window_goes_back() -> None:
    d = established().send("A", seq=WINDOW, data=b"far").released(b"far").happened()
    d.expect("A", ack=0)
    assert drops(d, Drop.OUT_OF_WINDOW) == 1


def test_probe_into_a_closed_window_is_refused_but_its_ack_counts() -> None:
    d = established(TcpConfig(receive_buffer=4, mss=MSS)).write(10)
    d.expect("PA", length=10)
    d.send("A", ack=0, data=b"full").happened((event.DATA, b"full"))
    d.expire()
    d.expect("A", ack=4, window=0)
    d.send("A", seq=4, ack=10, data=b"x").released(b"x").happened((event.ACKED, 10)).expect("A", ack=4, window=0)


def test_window_update_when_the_application_reads() -> None:
    d = established(TcpConfig(receive_buffer=4 * MSS, mss=MSS)).send("A", data=bytes(4 * MSS))
    d.expect("A", ack=4 * MSS, window=0)
    d.consume(MSS - 1).expect_nothing()
    d.consume(1).expect("A", ack=4 * MSS, window=MSS)


def test_silly_window_is_not_offered() -> None:
    d = established(TcpConfig(receive_buffer=4 * MSS, mss=MSS)).send("A", data=bytes(4 * MSS))
    d.expect("A", window=0)
    d.consume(100).expect_nothing().send("A", seq=4 * MSS, data=b"x").expect("A", window=0)


def test_no_update_of_its_own_while_the_window_is_large() -> None:
    d = established().send("A", data=bytes(MSS)).consume(MSS).expect_nothing()
    d.expire()
    d.expect("A", ack=MSS, window=WINDOW)


def test_window_is_exact_with_a_scale() -> None:
    d = established(TcpConfig(receive_buffer=1 << 20, mss=MSS), wscale=0)
    unit = 1 << d.connection.rcv_scale
    d.write(1).expect("PA", length=1, window=(1 << 20) // unit)
    edge = 1 << 20
    d.send("A", data=bytes(unit * 3 + 1)).write(1)
    window = d.expect("PA", ack=unit * 3 + 1, length=1).window * unit
    assert 0 <= unit * 3 + 1 + window - edge < unit


def test_byte_at_a_time_cannot_push_the_window_past_the_buffer() -> None:
    d = established(TcpConfig(receive_buffer=100_000, mss=MSS), wscale=0)
    d.write(1).expect("PA", length=1)
    d.send("A")
    for _ in range(2 * MSS):
        d.send("A", data=b"x")
        d.write(1).expect("PA", length=1)
        d.send("A")
    d.connection.events.clear()
    edge = d.connection.rcv_wnd + d.connection.unconsumed
    assert edge <= 100_000 + 2 * (1 << d.connection.rcv_scale)


def test_held_spans_are_bounded() -> None:
    d = established(TcpConfig(receive_buffer=WINDOW, mss=MSS, max_held_spans=3))
    for seq in (10, 20, 30):
        d.send("A", seq=seq, data=b"x").released().expect("A", ack=0)
    d.send("A", seq=40, data=b"y").released(b"y").expect("A", ack=0)
    assert drops(d, Drop.HELD_FULL) == 1


def test_memory_pressure_gives_held_spans_back() -> None:
    d = established().send("A", seq=10, data=b"x").send("A", seq=20, data=b"y")
    d.connection.memory_pressure()
    d.released(b"x", b"y").send("A", seq=0, data=bytes(10)).happened((event.DATA, bytes(10)))
    assert drops(d, Drop.MEMORY_PRESSURE) == 2


def test_fin_out_of_order_waits_for_the_data() -> None:
    d = established().send("FA", seq=5, data=b"world").happened()
    d.expect("A", ack=0)
    d.send("A", seq=0, data=b"hello")
    d.happened((event.DATA, b"hello"), (event.DATA, b"world"), (event.PEER_CLOSED, None)).expect("A", ack=11)
    d.in_state(state.CLOSE_WAIT)


def test_fin_is_seen_even_if_only_the_fin_came_early() -> None:
    d = established().send("FA", seq=5)
    d.expect("A", ack=0)
    d.send("A", seq=0, data=b"hello").happened((event.DATA, b"hello"), (event.PEER_CLOSED, None)).expect("A", ack=6)


def test_data_behind_the_fin_is_refused() -> None:
    d = established().send("A", seq=8, data=b"behind").send("FA", seq=5).send("A", seq=0, data=b"hello??")
    d.happened((event.DATA, b"hello"), (event.PEER_CLOSED, None)).released(b"behind")
    d.connection.outbox.clear()
    d.send("A", seq=6, data=b"more").released(b"more").expect("A", ack=6)
    assert drops(d, Drop.AFTER_CLOSE) == 1


def test_fin_into_a_closed_window_is_taken() -> None:
    d = established(TcpConfig(receive_buffer=4, mss=MSS)).send("A", data=b"full")
    d.send("FA").happened((event.DATA, b"full"), (event.PEER_CLOSED, None)).expect("A", ack=5, window=0)


@pytest.mark.parametrize("builder", [fin_wait_1, fin_wait_2])
def test_half_closed_side_still_receives(builder: type[Dialogue]) -> None:
    d = builder().send("A", data=b"late").happened((event.DATA, b"late"))
    d.expire()
    d.expect("A", seq=1, ack=4)


def test_segment_without_ack_is_dropped() -> None:
    d = established().send(".", data=b"x").released(b"x").expect_nothing()
    assert drops(d, Drop.NO_ACK) == 1


def test_held_span_that_overlaps_an_earlier_one_is_kept_for_its_tail() -> None:
    d = established().send("A", seq=2, data=b"cdef").send("A", seq=3, data=b"defg").released()
    d.send("A", seq=0, data=b"ab").happened((event.DATA, b"ab"), (event.DATA, b"cdef"), (event.DATA, b"g"))


def test_held_bytes_are_bounded_even_when_they_overlap() -> None:
    d = established(TcpConfig(receive_buffer=10, mss=MSS)).send("A", seq=5, data=b"fghij")
    d.send("A", seq=4, data=b"efghij").released(b"efghij")
    assert drops(d, Drop.HELD_FULL) == 1
