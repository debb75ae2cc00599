"""The connection as a whole: closing in every order, resets, challenges, timers, and what no input may do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Drop
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import RST, Options
from tests.tcp.dialogue import (
    BUILDERS,
    MSS,
    OUR_ISS,
    PEER_ISS,
    WINDOW,
    Dialogue,
    close_wait,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    syn_sent,
    time_wait,
)
from tests.tcp.pair import Host, Pair, Wire

NORMAL = (event.CLOSED, event.NORMAL)
RESET = (event.CLOSED, event.RESET)
SYNCHRONIZED = [number for number in BUILDERS if number > state.SYN_RCVD]


def test_peer_closes_first() -> None:
    last_ack().send("A", ack=1).happened(NORMAL).in_state(state.CLOSED).expect_nothing()


def test_we_close_first() -> None:
    d = time_wait()
    assert d.expire() == d.config.time_wait
    d.in_state(state.CLOSED).happened().expect_nothing()


def test_fin_and_its_ack_in_one_segment() -> None:
    d = fin_wait_1().send("FA", ack=1)
    d.happened((event.PEER_CLOSED, None), NORMAL).in_state(state.TIME_WAIT).expect("A", seq=1, ack=1)


def test_simultaneous_close() -> None:
    closing().send("A", ack=1).happened(NORMAL).in_state(state.TIME_WAIT).expect_nothing()


def test_fin_rides_on_the_last_data() -> None:
    d = established(window=0).write(10).shutdown().expect_nothing().in_state(state.FIN_WAIT_1)
    d.send("A", window=WINDOW).expect("FPA", seq=0, length=10)
    d.send("A", ack=11).happened((event.ACKED, 10)).in_state(state.FIN_WAIT_2)


def test_half_close_lets_the_other_side_go_on() -> None:
    d = close_wait().write(10)
    d.expect("PA", seq=0, ack=1, length=10)
    d.send("A").happened((event.ACKED, 10)).in_state(state.CLOSE_WAIT)


def test_lost_fin_is_sent_again() -> None:
    d = fin_wait_1()
    d.expire()
    d.expect("FA", seq=0)


def test_lost_data_with_fin_is_sent_again_with_fin() -> None:
    d = established().write(10).shutdown()
    d.expect("PA", length=10)
    d.expect("FA", seq=10)
    d.expire()
    d.expect("PFA", seq=0, length=10)


def test_lost_ack_of_the_fin_is_repeated_in_time_wait() -> None:
    d = time_wait().wait(1_000_000).send("FA", seq=0)
    d.expect("A", seq=1, ack=1)
    assert d.connection.deadline == d.now + d.config.time_wait


def test_time_wait_ignores_reset_and_answers_data() -> None:
    d = time_wait().send("RA", seq=1).in_state(state.TIME_WAIT).expect_nothing()
    d.send("A", seq=1, data=b"late").released(b"late").happened().in_state(state.TIME_WAIT)


def test_shutdown_twice_sends_one_fin() -> None:
    fin_wait_1().shutdown().expect_nothing()


@pytest.mark.parametrize("number", [s for s in SYNCHRONIZED if s != state.TIME_WAIT])
def test_exact_reset_ends_the_connection(number: int) -> None:
    d = BUILDERS[number]()
    seq = seqnum.sub(d.connection.rcv_nxt, seqnum.add(PEER_ISS, 1))
    d.send("R", seq=seq).happened(RESET).expect_nothing().in_state(state.CLOSED)
    assert d.connection.deadline == NEVER


@pytest.mark.parametrize("letters", ["R", "RA", "S", "SA"])
@pytest.mark.parametrize("number", [s for s in SYNCHRONIZED if s != state.TIME_WAIT])
def test_inexact_reset_and_any_syn_in_the_window_are_challenged(number: int, letters: str) -> None:
    d = BUILDERS[number]()
    seq = seqnum.sub(d.connection.rcv_nxt, seqnum.add(PEER_ISS, 1))
    d.send(letters, seq=seq + 1).happened().in_state(number)
    d.expect("A", ack=seq)
    assert d.connection.statistics.challenge_acks == 1


def test_reset_outside_the_window_is_ignored() -> None:
    established().send("R", seq=-1).send("R", seq=WINDOW + 1).expect_nothing().in_state(state.ESTABLISHED)


def test_challenges_are_limited_per_second() -> None:
    d = established()
    for _ in range(50):
        d.send("S", seq=1)
    assert len(d.connection.outbox) == 10
    d.connection.outbox.clear()
    d.wait(1_000_000).send("S", seq=1).expect("A")


def test_two_confused_peers_stop_exchanging_acks() -> None:
    d = established()
    for _ in range(50):
        d.send("A", seq=-5)
    assert len(d.connection.outbox) == 10


@pytest.mark.parametrize("number", list(BUILDERS))
def test_abort(number: int) -> None:
    d = BUILDERS[number]()
    d.connection.abort(d.now)
    if number in (state.SYN_SENT, state.CLOSING, state.LAST_ACK, state.TIME_WAIT):
        d.expect_nothing()
    else:
        assert d.expect("RA").seq == d.connection.snd_nxt
    d.happened(*([] if number == state.TIME_WAIT else [RESET])).in_state(state.CLOSED)
    assert d.connection.deadline == NEVER
    d.connection.abort(d.now)
    d.happened().expect_nothing()


def test_abort_gives_held_spans_back() -> None:
    d = established().send("A", seq=5, data=b"held")
    d.connection.abort(d.now)
    d.released(b"held")


def test_data_for_an_aborted_connection_is_reset() -> None:
    d = established()
    d.connection.abort(d.now)
    d.expect("RA")
    d.happened(RESET).send("A", data=b"late").released(b"late").expect("R", seq=0)


@pytest.mark.parametrize("number", list(BUILDERS))
def test_too_early_timer_does_nothing(number: int) -> None:
    d = BUILDERS[number]()
    d.connection.on_timer(d.now)
    d.expect_nothing().happened().in_state(number)


def test_silent_peer_leads_to_a_time_out() -> None:
    d = syn_sent(TcpConfig(syn_retries=1))
    d.expire()
    d.expect("S")
    d.expire()
    d.happened((event.CLOSED, event.TIMEOUT))


def test_fin_wait_2_keeps_no_timer() -> None:
    assert fin_wait_2().connection.deadline == NEVER


def test_send_room() -> None:
    d = established(TcpConfig(receive_buffer=WINDOW, mss=MSS, send_buffer=1_000)).write(300)
    assert d.connection.send_room == 700


# What no peer, however hostile, may bring about.

segments = st.fixed_dictionaries(
    {
        "near": st.booleans(),
        "seq": st.integers(-3_000, 3_000) | st.integers(0, 0xFFFFFFFF),
        "ack": st.integers(-3_000, 3_000) | st.integers(0, 0xFFFFFFFF),
        "flags": st.integers(0, 255) | st.sampled_from([0x10, 0x11, 0x18, 0x02, 0x04, 0x14]),
        "window": st.integers(0, 0xFFFF),
        "size": st.sampled_from([0, 0, 1, 5, 500, 1460, 9000]),
    }
)
calls = st.one_of(
    segments.map(lambda segment: ("segment", segment)),
    st.tuples(st.just("timer"), st.sampled_from([0, 1_000, 40_000, 500_000, 70_000_000])),
    st.tuples(st.just("send"), st.sampled_from([1, 100, 1460, 5_000, 100_000])),
    st.tuples(st.just("consume"), st.integers(0, 5_000)),
    st.tuples(st.sampled_from(["shutdown", "pressure"]), st.just(0)),
)


class Fuzzed:
    """A connection under arbitrary calls, with the accounts that must balance."""

    def __init__(self, d: Dialogue) -> None:
        self.d = d
        self.pair = Pair(Host(b"", 1), Host(b"", 1), Wire(loss=1.0))
        self.host = self.pair.hosts[1]
        self.host.config = d.config
        self.host.connection = d.connection
        self.host.keep_open = True
        self.host.appetite = lambda: 0
        self.queued = 0

    def call(self, name: str, argument: object) -> None:
        connection, now = self.d.connection, self.d.now
        if isinstance(argument, dict):
            self.segment(**argument)
        elif isinstance(argument, int):
            if name == "timer":
                self.d.now += argument
                connection.on_timer(self.d.now)
            elif name == "send":
                accepted = not connection.closing and connection.state != state.CLOSED
                connection.send(Span(bytes(argument), 0, argument), now)
                self.queued += argument if accepted else 0
            elif name == "consume":
                count = min(argument, self.host.unconsumed)
                self.host.unconsumed -= count
                connection.consume(count, now)
        if name == "shutdown":
            connection.shutdown(now)
        elif name == "pressure":
            connection.memory_pressure()
        self.pair.now = self.d.now
        self.pair.settle(1)
        assert self.host.acked <= self.queued
        assert connection.deadline > self.d.now or name != "timer"

    def segment(self, near: bool, seq: int, ack: int, flags: int, window: int, size: int) -> None:
        connection = self.d.connection
        seq = seqnum.add(connection.rcv_nxt if near else 0, seq)
        ack = seqnum.add(connection.snd_una if near else 0, ack)
        fake = type("Fake", (), {})()
        fake.seq, fake.ack, fake.flags, fake.window = seq, ack, flags, window
        self.pair.receive(self.host, fake, bytes(size), Options(1460, 7))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(BUILDERS)), st.lists(calls, max_size=40))
def test_no_sequence_of_calls_breaks_the_accounts(number: int, script: list[tuple[str, object]]) -> None:
    builder: Callable[[TcpConfig], Dialogue] = BUILDERS[number]
    d = builder(TcpConfig(receive_buffer=5_000, mss=MSS, max_held_spans=4, retries=3))
    before = d.connection.rcv_nxt
    fuzzed = Fuzzed(d)
    told = 0
    for name, argument in script:
        fuzzed.call(name, argument)
        told = sum(kind == event.CLOSED for kind, _ in fuzzed.host.log)
        assert told <= 1
    if number > state.SYN_RCVD:
        received = seqnum.sub(d.connection.rcv_nxt, before)
        assert received in (len(fuzzed.host.received), len(fuzzed.host.received) + 1)
    if told:
        assert fuzzed.host.outstanding() == []


@pytest.mark.parametrize("number", list(BUILDERS))
def test_reset_never_answers_a_reset(number: int) -> None:
    for seq in (-1, 0, 1, 100, WINDOW + 5):
        d = BUILDERS[number]().send("R", seq=seq)
        assert not any(segment.flags & RST for segment in d.connection.outbox)


def test_counters_name_what_was_dropped() -> None:
    d = established().send("R", seq=5)
    assert d.connection.statistics.dropped() == {"bad_rst": 1}
    assert d.connection.statistics.drops[Drop.BAD_RST] == 1
    assert d.connection.snd_una == OUR_ISS + 1
