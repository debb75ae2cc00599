"""Opening: passive, active, simultaneous, options, lost SYNs, refusals."""

from __future__ import annotations

import pytest

from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Drop
from dlibos_node.wire.tcp import Options, parse_options
from tests.tcp.dialogue import MSS, WINDOW, Dialogue, established, syn_rcvd, syn_sent


def options_of(d: Dialogue, letters: str) -> Options:
    options = parse_options(d.expect(letters, seq=-1).options)
    assert isinstance(options, Options)
    return options


def test_passive_open() -> None:
    d = syn_rcvd().in_state(state.SYN_RCVD).happened()
    d.send("A").expect_nothing().happened((event.ESTABLISHED, None)).in_state(state.ESTABLISHED)


def test_passive_open_with_data_in_the_third_segment() -> None:
    d = syn_rcvd().send("PA", data=b"GET /")
    d.happened((event.ESTABLISHED, None), (event.DATA, b"GET /")).expect_nothing()


def test_active_open() -> None:
    d = syn_sent().send("SA", seq=-1, ack=0)
    d.happened((event.ESTABLISHED, None)).expect("A", seq=0, ack=0)
    d.expect_nothing().in_state(state.ESTABLISHED)


def test_data_queued_with_the_connect_acknowledges_the_syn() -> None:
    d = syn_sent().write(10).expect_nothing()
    d.send("SA", seq=-1, ack=0).expect("PA", seq=0, ack=0, length=10)
    d.expect_nothing()


def test_shutdown_before_open_sends_data_and_fin_after_it() -> None:
    d = syn_sent().write(10).shutdown().expect_nothing()
    d.send("SA", seq=-1, ack=0).expect("PFA", seq=0, ack=0, length=10)
    d.expect_nothing().in_state(state.FIN_WAIT_1)


def test_simultaneous_open() -> None:
    d = syn_sent().send("S", seq=-1).in_state(state.SYN_RCVD)
    d.expect("SA", seq=-1, ack=0)
    d.send("SA", seq=-1, ack=0).happened((event.ESTABLISHED, None)).expect("A", seq=0, ack=0)
    d.expect_nothing().in_state(state.ESTABLISHED)


def test_simultaneous_open_completed_by_an_ack() -> None:
    d = syn_sent().send("S", seq=-1)
    d.expect("SA", seq=-1, ack=0)
    d.send("A", ack=0).expect_nothing().happened((event.ESTABLISHED, None)).in_state(state.ESTABLISHED)


@pytest.mark.parametrize(("theirs", "ours"), [(-1, -1), (7, 2)])
def test_window_scale_is_answered_only_if_offered(theirs: int, ours: int) -> None:
    d = Dialogue(TcpConfig(receive_buffer=200_000, mss=MSS), wscale=theirs).passive()
    assert options_of(d, "SA").wscale == ours
    d.send("A", window=100)
    assert d.connection.snd_wnd == 100 << max(theirs, 0)


def test_scale_is_not_used_when_the_peer_does_not_offer_it() -> None:
    d = Dialogue(TcpConfig(receive_buffer=200_000, mss=MSS)).active()
    assert options_of(d, "S").wscale == 2
    d.send("SA", seq=-1, ack=0).expect("A", window=0xFFFF)


@pytest.mark.parametrize(("stated", "used"), [(0, 536), (1400, MSS), (500, 500), (1, 48)])
def test_mss_is_the_lesser_of_both(stated: int, used: int) -> None:
    d = established(peer_mss=stated)
    assert d.connection.snd_mss == used
    assert d.connection.gso % used == 0


def test_syn_window_is_not_scaled_and_first_ack_opens_the_whole_buffer() -> None:
    d = Dialogue(TcpConfig(receive_buffer=1 << 20, mss=MSS), wscale=7).passive()
    assert d.expect("SA").window == 0xFFFF
    d.send("A").write(1).expect("PA", length=1, window=(1 << 20) >> 5)


def test_lost_syn_is_sent_again_with_back_off_then_given_up() -> None:
    d = syn_sent(TcpConfig(syn_retries=3))
    times = [d.expire() for _ in range(3)]
    assert times == [1_000_000, 2_000_000, 4_000_000]
    for _ in times:
        d.expect("S", seq=-1)
    d.expire()
    d.expect_nothing().happened((event.CLOSED, event.TIMEOUT)).in_state(state.CLOSED)


def test_lost_syn_ack_is_sent_again() -> None:
    d = syn_rcvd()
    assert d.expire() == 1_000_000
    d.expect("SA", seq=-1, ack=0)
    d.send("A").happened((event.ESTABLISHED, None))
    assert d.connection.retries == 0
    # RFC 6298 section 5.7 and RFC 5681 section 3.1.
    assert d.connection.rto.rto == 3_000_000
    assert d.connection.congestion.cwnd == MSS


def test_repeated_syn_gets_the_syn_ack_again() -> None:
    d = syn_rcvd().send("S", seq=-1)
    d.expect("SA", seq=-1, ack=0)
    d.expect_nothing().in_state(state.SYN_RCVD)


def test_handshake_gives_the_first_round_trip_time() -> None:
    d = syn_rcvd().wait(30_000).send("A")
    assert d.connection.rto.srtt == 30_000


def test_refused() -> None:
    syn_sent().send("RA", ack=0).expect_nothing().happened((event.CLOSED, event.REFUSED)).in_state(state.CLOSED)


def test_syn_sent_ignores_a_reset_that_acknowledges_nothing_or_too_much() -> None:
    d = syn_sent().send("R", seq=0).send("RA", ack=5).expect_nothing().happened().in_state(state.SYN_SENT)
    assert d.connection.statistics.drops[Drop.BAD_RST] == 1
    assert d.connection.statistics.drops[Drop.BAD_ACK] == 1


def test_syn_sent_resets_a_wrong_ack() -> None:
    d = syn_sent().send("SA", seq=-1, ack=7)
    d.expect("R", seq=7)
    d.in_state(state.SYN_SENT)


def test_syn_rcvd_resets_a_wrong_ack() -> None:
    d = syn_rcvd().send("A", ack=7)
    d.expect("R", seq=7)
    d.in_state(state.SYN_RCVD)


def test_reset_in_syn_rcvd() -> None:
    syn_rcvd().send("R", seq=0).happened((event.CLOSED, event.RESET)).expect_nothing()


def test_payload_on_syn_is_given_back() -> None:
    d = syn_sent().send("SA", seq=-1, ack=0, data=b"early").released(b"early")
    d.expect("A", ack=0)
    assert d.connection.statistics.drops[Drop.ON_SYN] == 1


def test_segment_without_syn_or_ack_is_dropped() -> None:
    d = syn_sent().send(".", data=b"x").released(b"x").expect_nothing()
    assert d.connection.statistics.drops[Drop.NO_ACK] == 1


def test_send_in_syn_rcvd_waits_for_the_ack() -> None:
    d = syn_rcvd()
    d.connection.send(Span(b"hello", 0, 5), d.now)
    d.expect_nothing().send("A", window=WINDOW).expect("PA", seq=0, length=5)


def test_payload_on_a_repeated_syn_is_given_back() -> None:
    d = syn_rcvd().send("S", seq=-1, data=b"early").released(b"early")
    d.expect("SA", seq=-1, ack=0)
    d.expect_nothing()


def test_syn_ack_for_a_passive_open_is_challenged() -> None:
    d = syn_rcvd().send("SA", seq=-1, ack=0).in_state(state.SYN_RCVD)
    d.expect("A", seq=0, ack=0)
    assert d.connection.statistics.drops[Drop.BAD_SYN] == 1
