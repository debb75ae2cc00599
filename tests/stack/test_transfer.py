"""A connection becomes words and is the same again; words that no connection makes are refused."""

from __future__ import annotations

import inspect

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.stack import transfer
from dlibos_node.stack.flow import Flow, Header
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Statistics
from dlibos_node.tcp.tcb import Tcb
from dlibos_node.tcp.time_wait import TimeWait
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire.tcp import ACK, Options

MAC, PEER, ADDRESS = bytes(5) + b"\1", bytes(5) + b"\2", 0x0A4D0002
KEY = 0x0A4D0001 << 32 | 50_000 << 16 | 80
CONFIG = TcpConfig()
# Compiled, a class has no __slots__; its attributes are descriptors in either build.
STATE = [
    name
    for name, what in vars(Tcb).items()
    if (inspect.ismemberdescriptor(what) or inspect.isgetsetdescriptor(what))
    and not name.startswith("__")
    and name not in {"config", "statistics", "congestion", "rto"}
]
LATER = 7_000_000  # the receiver's clock is another


def flow(now: int = 1000) -> Flow:
    conn = Connection.passive(CONFIG, 5000, 900, 65_535, Options(1460, 7), now)
    conn.on_segment(901, 5001, ACK, 4, None, None, now + 500)
    conn.on_segment(901, 5001, ACK, 4, None, Span(1 << 48, 100, 700), now + 600)
    for number in range(3):
        conn.send(Span(2 << 48 | number, 4096 * number, 1000), now + 700)
    for waiting in (conn.outbox, conn.events, conn.released):
        waiting.clear()
    made = Flow(KEY, 9, conn, Header(KEY, MAC, PEER, ADDRESS), 5, 1)
    made.established = True
    made.unread.append(Span(1 << 48, 100, 700))
    made.owing, made.read = 600, 100
    conn.consume(100, now)
    return made


def again(words: list[int], now: int) -> Flow | None:
    return transfer.unpack(9, words, CONFIG, Statistics(), MAC, ADDRESS, now)


def test_every_part_of_the_state_survives() -> None:
    before = flow()
    after = again(transfer.pack(before, 33, 2000), 2000 + LATER)
    assert after is not None
    for name in STATE:
        was, became = getattr(before.conn, name), getattr(after.conn, name)
        if name in {"retransmit_at", "ack_at", "persist_at", "wait_at", "challenge_at", "timed_at", "sent_at"}:
            was += LATER if 0 <= was < NEVER and name != "challenge_at" else 0
            assert became == was or name == "challenge_at", name
        elif name == "queue":
            assert [(s.offset, s.length, s.lease) for s in became] == [(s.offset, s.length, s.lease) for s in was]
        else:
            assert became == was, name
    for name in ("cwnd", "ssthresh", "mss", "counted"):
        assert getattr(after.conn.congestion, name) == getattr(before.conn.congestion, name)
    for name in ("srtt8", "rttvar4", "rto"):
        assert getattr(after.conn.rto, name) == getattr(before.conn.rto, name)
    assert (after.key, after.app, after.route, after.owing, after.read) == (KEY, 5, 1, 600, 100)
    (unread,) = after.unread
    assert (unread.lease, unread.offset, unread.length, after.header.peer_mac) == (1 << 48, 100, 700, PEER)


@given(at=st.integers(0, transfer.HEAD + 7), word=st.integers(0, 2**64 - 1) | st.integers(0, 70_000))
def test_no_words_make_the_receiver_fail(at: int, word: int) -> None:
    words = transfer.pack(flow(), 0, 2000)
    words[at % len(words)] = word
    after = again(words, 2000)
    if after is None:
        return
    conn = after.conn
    conn.on_timer(2000 + 10_000_000)
    conn.on_segment(conn.rcv_nxt, conn.snd_max, ACK, 9, None, None, 3000)
    conn.send(Span(3 << 48, 0, 5000), 4000)
    conn.shutdown(5000)
    conn.abort(6000)


@given(st.integers(0, transfer.HEAD + 8))
def test_words_that_are_cut_short_are_refused(length: int) -> None:
    words = transfer.pack(flow(), 0, 2000)
    assert again(words[: min(length, len(words) - 1)], 2000) is None


def test_time_wait_keeps_what_is_left_of_its_time() -> None:
    words = transfer.pack_waiting(KEY, TimeWait(11, 22, 33, 5_000), 2_000)
    [(key, record)] = transfer.unpack_waiting(words, CONFIG, 100_000)
    assert (key, record.snd_nxt, record.rcv_nxt, record.window, record.expiry) == (KEY, 11, 22, 33, 103_000)
