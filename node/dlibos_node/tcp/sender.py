"""The sending half: what goes out, how much at once, and what stops it (RFC 9293 section 3.8, RFC 5681).

`transmit` sends what the windows allow. acks.py reads what comes back; timeouts.py acts when nothing does. Payload is
sent and resent by reference to the spans of the queue. Read tcb.py's picture first.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dlibos_node.tcp import state
from dlibos_node.tcp.segment import MAX_SPANS, NO_SPANS, Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.tcb import Tcb
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK, FIN, PSH, RST

# RFC 5681 section 3.2.
DUPLICATE_ACKS: Final = 3


def gather(queue: deque[Span], index: int, offset: int, length: int) -> list[Span]:
    """Return spans for `length` bytes from `offset` of `queue[index]`, fewer bytes if 16 spans do not hold them."""
    spans: list[Span] = []
    while length > 0 and len(spans) < MAX_SPANS:
        span = queue[index]
        size = span.length - offset
        if size > length:
            size = length
        spans.append(span if size == span.length else span.part(offset, size))
        length -= size
        offset = 0
        index += 1
    return spans


def transmit(t: Tcb, now: int) -> None:
    """Send what the peer's window and the congestion window allow, FIN included; else see to it that we ask again."""
    if not state.may_send(t.state):
        return
    if t.snd_una == t.snd_nxt and now - t.sent_at > t.rto.rto:
        t.congestion.on_idle()
    while t.unsent > 0:
        length = sendable(t)
        if length == 0:
            break
        emit(t, length, now)
    if t.closing and not t.fin_sent and t.unsent == 0:
        emit(t, 0, now)
    if t.unsent > 0 and t.snd_nxt == t.snd_una and t.persist_at == NEVER:
        t.retransmit_at = NEVER
        t.persist_at = now + t.rto.rto


def sendable(t: Tcb) -> int:
    """Return how many bytes to send in the next segment, 0 for none (RFC 9293 section 3.8.6.2.1)."""
    flight = seqnum.sub(t.snd_nxt, t.snd_una)
    cwnd = t.congestion.cwnd
    if t.dup_acks < DUPLICATE_ACKS and not t.recovering:
        # RFC 3042: the first two duplicate ACKs each let one new segment go.
        cwnd += t.dup_acks * t.snd_mss
    usable = (cwnd if cwnd < t.snd_wnd else t.snd_wnd) - flight
    length = t.unsent if t.unsent < usable else usable
    mss = t.snd_mss
    if length >= mss:
        return whole_segments(t, length)
    if length <= 0:
        return 0
    if length == t.unsent and (flight == 0 or t.config.nodelay or t.closing):
        return length
    return length if length * 2 >= t.max_snd_wnd else 0


def whole_segments(t: Tcb, length: int) -> int:
    """Cut `length` (at least one MSS) to what one super-segment holds; short tails only at the end."""
    if length > t.gso:
        return t.gso
    if length == t.unsent and t.config.nodelay:
        return length
    return length - length % t.snd_mss


def emit(t: Tcb, length: int, now: int) -> None:
    """Send the next `length` bytes from the cursor, with FIN if it follows."""
    spans: list[Span] | tuple[Span, ...] = NO_SPANS
    if length > 0:
        spans = gather(t.queue, t.cursor, t.cursor_offset, length)
        length = advance(t, spans)
    flags = ACK
    end = seqnum.add(t.snd_nxt, length)
    if t.unsent == 0:
        flags = ACK | PSH if length else ACK
        if t.closing:
            flags |= FIN
            t.fin_sent = True
            end = seqnum.add(end, 1)
    put(t, Segment(t.snd_nxt, t.rcv_nxt, flags, t.window_field(), b"", spans, length, t.snd_mss))
    if t.snd_nxt != t.snd_max:
        t.statistics.retransmits += 1
    elif t.timed_at < 0:
        t.timed_at = now
        t.timed_seq = end
    t.snd_nxt = end
    t.snd_max = seqnum.latest(end, t.snd_max)
    t.sent_at = now
    t.persist_at = NEVER
    t.probe_backoff = 0
    if t.retransmit_at == NEVER:
        t.retransmit_at = now + t.rto.rto


def put(t: Tcb, segment: Segment) -> None:
    """Hand over a segment that carries our current acknowledgement."""
    t.outbox.append(segment)
    t.ack_now = False
    t.ack_at = NEVER
    t.ack_owed = 0


def advance(t: Tcb, spans: list[Span]) -> int:
    """Move the cursor over `spans`, just gathered from it; return their bytes."""
    taken = 0
    for span in spans:
        taken += span.length
    last = len(spans) - 1
    start = t.cursor_offset if last == 0 else 0
    t.cursor += last
    t.cursor_offset = start + spans[last].length
    if t.cursor_offset == t.queue[t.cursor].length:
        t.cursor += 1
        t.cursor_offset = 0
    t.unsent -= taken
    return taken


def emit_ack(t: Tcb) -> None:
    """Send an empty ACK."""
    put(t, Segment(empty_seq(t), t.rcv_nxt, ACK, t.window_field(), b"", NO_SPANS, 0, t.snd_mss))


def emit_reset(t: Tcb) -> None:
    """Send RST for this connection."""
    t.outbox.append(Segment(empty_seq(t), t.rcv_nxt, RST | ACK, 0, b"", NO_SPANS, 0, t.snd_mss))


def empty_seq(t: Tcb) -> int:
    """Return the sequence number of a segment without data: the newest that the peer's window certainly accepts."""
    if seqnum.sub(t.snd_max, t.snd_una) > t.snd_wnd:
        return seqnum.add(t.snd_una, t.snd_wnd)
    return t.snd_max
