"""A scripted peer: send a segment, expect an answer, expect nothing. One builder for each state of the connection.

Sequence numbers are relative: 0 is the first byte of data on either side, -1 the SYN. The initial sequence numbers lie
just below 2^32, so that every script also tests the wrap. After each step whatever was not expected is an error.
"""

from __future__ import annotations

from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK, FIN, PSH, RST, SYN, Options

OUR_ISS = 0xFFFFFFF0
PEER_ISS = 0xFFFFFF00
MSS = 1000
WINDOW = 60_000
NO_TSO = TcpConfig(receive_buffer=WINDOW, mss=MSS, gso_max=0)
_LETTERS = {"S": SYN, "A": ACK, "F": FIN, "R": RST, "P": PSH, ".": 0}


def flags_of(letters: str) -> int:
    return sum(_LETTERS[letter] for letter in letters)


class Dialogue:
    """One connection and its scripted peer, whose window is not scaled unless `wscale` is given."""

    def __init__(self, config: TcpConfig | None = None, *, peer_mss: int = MSS, wscale: int = -1) -> None:
        self.config = config or TcpConfig(receive_buffer=WINDOW, mss=MSS)
        self.options = Options(peer_mss, wscale)
        self.now = 1_000_000
        self.next = 0
        self.acked = 0
        self.connection: Connection

    def passive(self) -> Dialogue:
        syn_window = WINDOW
        self.connection = Connection.passive(self.config, OUR_ISS, PEER_ISS, syn_window, self.options, self.now)
        return self

    def active(self) -> Dialogue:
        self.connection = Connection.active(self.config, OUR_ISS, self.now)
        return self

    def send(
        self,
        letters: str,
        seq: int | None = None,
        ack: int | None = None,
        data: bytes = b"",
        window: int = WINDOW,
    ) -> Dialogue:
        """The peer sends; by default the next sequence number and an ACK for what was last expected."""
        flags = flags_of(letters)
        if seq is None:
            seq = self.next
            self.next += len(data) + bool(flags & FIN)
        ack = self.acked if ack is None else ack
        span = Span(data, 0, len(data)) if data else None
        self.connection.on_segment(
            seqnum.add(PEER_ISS + 1, seq),
            seqnum.add(OUR_ISS + 1, ack) if flags & ACK else 0,
            flags,
            window,
            self.options if flags & SYN else None,
            span,
            self.now,
        )
        return self

    def expect(
        self,
        letters: str,
        seq: int | None = None,
        ack: int | None = None,
        length: int = 0,
        window: int | None = None,
    ) -> Segment:
        """Take the next segment that was sent; check its flags (PSH only if named) and what is given."""
        assert self.connection.outbox, "nothing was sent"
        segment = self.connection.outbox.pop(0)
        mask = 0xFF if "P" in letters else 0xFF & ~PSH
        assert segment.flags & mask == flags_of(letters), segment
        assert segment.length == length, segment
        assert sum(span.length for span in segment.spans) == length
        if seq is not None:
            assert seqnum.sub(segment.seq, seqnum.add(OUR_ISS, 1)) == seq, segment
        if ack is not None:
            assert seqnum.sub(segment.ack, seqnum.add(PEER_ISS, 1)) == ack, segment
        if window is not None:
            assert segment.window == window, segment
        end = seqnum.sub(segment.seq, seqnum.add(OUR_ISS, 1)) + length + bool(segment.flags & FIN)
        self.acked = max(self.acked, end)
        return segment

    def expect_nothing(self) -> Dialogue:
        assert self.connection.outbox == []
        return self

    def happened(self, *expected: tuple[int, object]) -> Dialogue:
        """Take the events and compare; DATA is given as its bytes."""
        events = [(kind, _bytes(detail) if kind == event.DATA else detail) for kind, detail in self.connection.events]
        self.connection.events.clear()
        assert events == list(expected)
        return self

    def released(self, *expected: bytes) -> Dialogue:
        """Take the spans given back and compare their bytes."""
        spans = [_bytes(span) for span in self.connection.released]
        self.connection.released.clear()
        assert spans == list(expected)
        return self

    def write(self, size: int) -> Dialogue:
        self.connection.send(Span(bytes(size), 0, size), self.now)
        return self

    def consume(self, count: int) -> Dialogue:
        self.connection.consume(count, self.now)
        return self

    def shutdown(self) -> Dialogue:
        self.connection.shutdown(self.now)
        return self

    def expire(self) -> int:
        """Let the earliest deadline come; return how long that took, in microseconds."""
        assert self.connection.deadline != NEVER, "no timer runs"
        passed = self.connection.deadline - self.now
        self.now = max(self.now, self.connection.deadline)
        self.connection.on_timer(self.now)
        return passed

    def wait(self, microseconds: int) -> Dialogue:
        """Let time pass in which no timer ends."""
        self.now += microseconds
        assert self.connection.deadline > self.now
        return self

    def in_state(self, expected: int) -> Dialogue:
        assert state.NAMES[self.connection.state] == state.NAMES[expected]
        return self


def _bytes(detail: object) -> bytes:
    assert isinstance(detail, Span)
    assert isinstance(detail.lease, bytes)
    return detail.lease[detail.offset : detail.offset + detail.length]


def syn_sent(config: TcpConfig | None = None, **options: int) -> Dialogue:
    d = Dialogue(config, **options).active()
    d.expect("S", seq=-1)
    return d


def syn_rcvd(config: TcpConfig | None = None, **options: int) -> Dialogue:
    d = Dialogue(config, **options).passive()
    d.expect("SA", seq=-1, ack=0)
    return d


def established(config: TcpConfig | None = None, *, window: int = WINDOW, **options: int) -> Dialogue:
    d = syn_rcvd(config, **options)
    d.send("A", window=window).happened((event.ESTABLISHED, None)).expect_nothing()
    return d.in_state(state.ESTABLISHED)


def bulk(segments: int, *, window: int = WINDOW) -> Dialogue:
    """Established, without TSO, `segments` full segments sent."""
    d = established(NO_TSO, window=window).write(segments * MSS)
    for index in range(min(segments, 10)):
        d.expect("A", seq=index * MSS, length=MSS)
    d.expect_nothing()
    return d


def close_wait(config: TcpConfig | None = None) -> Dialogue:
    d = established(config).send("FA").happened((event.PEER_CLOSED, None))
    d.expect("A", ack=1)
    return d.in_state(state.CLOSE_WAIT)


def last_ack(config: TcpConfig | None = None) -> Dialogue:
    d = close_wait(config).shutdown()
    d.expect("FA", seq=0, ack=1)
    return d.in_state(state.LAST_ACK)


def fin_wait_1(config: TcpConfig | None = None) -> Dialogue:
    d = established(config).shutdown()
    d.expect("FA", seq=0)
    return d.in_state(state.FIN_WAIT_1)


def fin_wait_2(config: TcpConfig | None = None) -> Dialogue:
    return fin_wait_1(config).send("A", ack=1).expect_nothing().in_state(state.FIN_WAIT_2)


def closing(config: TcpConfig | None = None) -> Dialogue:
    d = fin_wait_1(config).send("FA", ack=0).happened((event.PEER_CLOSED, None))
    d.expect("A", ack=1)
    return d.in_state(state.CLOSING)


def time_wait(config: TcpConfig | None = None) -> Dialogue:
    d = fin_wait_2(config).send("FA")
    d.happened((event.PEER_CLOSED, None), (event.CLOSED, event.NORMAL)).expect("A", seq=1, ack=1)
    return d.in_state(state.TIME_WAIT)


BUILDERS = {
    state.SYN_SENT: syn_sent,
    state.SYN_RCVD: syn_rcvd,
    state.ESTABLISHED: established,
    state.CLOSE_WAIT: close_wait,
    state.FIN_WAIT_1: fin_wait_1,
    state.FIN_WAIT_2: fin_wait_2,
    state.CLOSING: closing,
    state.LAST_ACK: last_ack,
    state.TIME_WAIT: time_wait,
}
