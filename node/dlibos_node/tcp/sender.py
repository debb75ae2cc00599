"""The sending half: what goes out and when, what ACKs mean, retransmission, probes (RFC 9293 3.8, 5681, 6582, 3042).

`transmit` sends what the windows allow; `on_ack` reads an acknowledgement; `on_timeout` and `on_probe` are the timers.
Payload is sent and resent by reference to the spans of the queue. Read tcb.py's picture first.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dlibos_node.tcp import event, state
from dlibos_node.tcp.segment import MAX_SPANS, NO_SPANS, Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.tcb import Tcb
from dlibos_node.tcp.timers import MAX_RTO, NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK, FIN, PSH, RST

# RFC 5681 section 3.2.
DUPLICATE_ACKS: Final = 3
# RFC 9293 section 3.8.6.1 asks for exponential back-off; Linux caps probes at 120 s too.
MAX_PROBE_INTERVAL: Final = MAX_RTO
MAX_PROBE_SHIFT: Final = 10


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
    t.rcv_acked = t.rcv_nxt


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


def on_ack(t: Tcb, seq: int, ack: int, window: int, empty: bool, now: int) -> bool:
    """Read the ACK of an acceptable segment; False if it cannot be right, then the segment is to be dropped.

    `window` as on the wire. `empty`: neither data nor FIN, so that it may count as a duplicate ACK.
    """
    new = seqnum.sub(ack, t.snd_una)
    if new > seqnum.sub(t.snd_max, t.snd_una) or new < -t.max_snd_wnd:
        # RFC 5961 section 5.2.
        t.challenge(now)
        return False
    window <<= t.snd_scale
    if new > 0:
        acknowledge(t, ack, new, now)
    elif new == 0 and empty and window == t.snd_wnd and t.snd_nxt != t.snd_una:
        duplicate(t, now)
    if t.persist_at != NEVER:
        t.retries = 0
    # RFC 9293 section 3.10.7.4, fifth: an old segment must not bring an old window.
    if new >= 0 and (seqnum.lt(t.snd_wl1, seq) or (t.snd_wl1 == seq and seqnum.le(t.snd_wl2, ack))):
        t.snd_wnd = window
        t.snd_wl1 = seq
        t.snd_wl2 = ack
        if window > t.max_snd_wnd:
            t.max_snd_wnd = window
    return True


def acknowledge(t: Tcb, ack: int, new: int, now: int) -> None:
    """The peer has `new` > 0 more sequence numbers, up to `ack`."""
    flight = seqnum.sub(t.snd_nxt, t.snd_una)
    data = new if new < t.unacknowledged else t.unacknowledged
    fin_acked = new > data
    t.snd_una = ack
    if data > 0:
        forget(t, data)
    if flight < new:
        # It covers what we had gone back to send again: go on behind it.
        t.snd_nxt = ack
        t.cursor = 0
        t.cursor_offset = t.head
        t.unsent = t.unacknowledged
        t.fin_sent = fin_acked
    t.retries = 0
    if t.timed_at >= 0 and seqnum.ge(ack, t.timed_seq):
        t.rto.sample(now - t.timed_at)
        t.timed_at = -1
    t.retransmit_at = NEVER if ack == t.snd_max else now + t.rto.rto
    if t.recovering:
        recover(t, ack, data, now)
    else:
        t.dup_acks = 0
        if flight * 2 >= t.congestion.cwnd:
            # Grow only a window that is used (RFC 7661).
            t.congestion.on_ack(data, now)
    if fin_acked:
        t.move(state.FIN_ACKED, now)


def forget(t: Tcb, data: int) -> None:
    """Take `data` acknowledged bytes from the front of the queue and report them."""
    queue = t.queue
    head = t.head + data
    t.unacknowledged -= data
    while queue and head >= queue[0].length:
        head -= queue.popleft().length
        t.cursor -= 1
    t.head = head
    t.events.append((event.ACKED, data))


def recover(t: Tcb, ack: int, data: int, now: int) -> None:
    """New data is acknowledged in fast recovery (RFC 6582 section 3.2, step 3)."""
    congestion = t.congestion
    mss = t.snd_mss
    if seqnum.lt(ack, t.recover):
        retransmit_head(t, now)
        congestion.cwnd = max(congestion.cwnd - data, 0) + (mss if data >= mss else 0)
        congestion.cwnd = max(congestion.cwnd, mss)
        return
    flight = seqnum.sub(t.snd_nxt, t.snd_una)
    congestion.cwnd = min(congestion.ssthresh, max(flight, mss) + mss)
    t.recovering = False
    t.dup_acks = 0
    # RFC 6582 would leave `recover` here, and a loss of the very next segment to the time-out. All that was resent is
    # acknowledged, so duplicate ACKs from now on speak of newer data.
    t.recover = seqnum.add(ack, -1)


def duplicate(t: Tcb, now: int) -> None:
    """A duplicate ACK (RFC 5681 section 2): a segment left the network, and an earlier one may be lost."""
    t.dup_acks += 1
    if t.recovering:
        t.congestion.cwnd += t.snd_mss
    elif t.dup_acks == DUPLICATE_ACKS and seqnum.gt(t.snd_una, t.recover):
        t.congestion.on_loss(seqnum.sub(t.snd_nxt, t.snd_una), now)
        t.congestion.cwnd += DUPLICATE_ACKS * t.snd_mss
        t.recover = t.snd_max
        t.recovering = True
        t.statistics.fast_retransmits += 1
        retransmit_head(t, now)


def retransmit_head(t: Tcb, now: int) -> None:
    """Send again one segment from snd_una, leaving snd_nxt where it is."""
    sent = t.unacknowledged - t.unsent
    # Not beyond a window that has shrunk, unless it is closed: then this is a probe.
    spans = gather(t.queue, 0, t.head, min(sent, t.snd_mss, t.snd_wnd or t.snd_mss))
    length = sum([span.length for span in spans])
    flags = ACK | PSH
    if t.fin_sent and length == t.unacknowledged:
        flags |= FIN
    put(t, Segment(t.snd_una, t.rcv_nxt, flags, t.window_field(), b"", spans, length, t.snd_mss))
    t.statistics.retransmits += 1
    t.timed_at = -1
    t.retransmit_at = now + t.rto.rto


def on_timeout(t: Tcb, now: int) -> None:
    """The retransmission time-out of an open connection (RFC 6298 section 5, RFC 5681 section 3.1)."""
    t.retries += 1
    t.statistics.timeouts += 1
    if t.retries > t.config.retries:
        t.finish(event.TIMEOUT)
        return
    t.rto.back_off()
    t.timed_at = -1
    flight = seqnum.sub(t.snd_max, t.snd_una)
    if t.retries == 1:
        t.congestion.on_timeout(flight, now)
    else:
        # RFC 5681 section 3.1: ssthresh stays when the same segment is lost again.
        t.congestion.cwnd = t.snd_mss
    t.recover = t.snd_max
    t.recovering = False
    t.dup_acks = 0
    go_back(t)
    t.retransmit_at = NEVER
    if t.snd_wnd == 0 and t.unsent > 0:
        # The window shrank to nothing under data in flight: ask, rather than count time-outs.
        t.persist_at = now + t.rto.rto
    else:
        emit(t, min(t.unsent, t.snd_mss, t.snd_wnd), now)


def go_back(t: Tcb) -> None:
    """Take snd_nxt back to snd_una: everything is to be sent again (slow start paces it)."""
    t.snd_nxt = t.snd_una
    t.cursor = 0
    t.cursor_offset = t.head
    t.unsent = t.unacknowledged
    t.fin_sent = False


def on_probe(t: Tcb, now: int) -> None:
    """The persist timer (RFC 9293 section 3.8.6.1): the window is closed, or too small to be worth a segment.

    A window that is merely small is filled now, the override of section 3.8.6.2.1. Into a closed one goes one byte of
    new data; snd_nxt stays, so that the byte is sent again with the rest when the window opens.
    """
    t.retries += 1
    if t.retries > t.config.retries:
        t.finish(event.TIMEOUT)
        return
    t.persist_at = NEVER
    if t.unsent == 0:
        return
    if t.snd_wnd > 0:
        emit(t, min(t.unsent, t.snd_wnd, t.snd_mss), now)
        return
    spans = gather(t.queue, 0, t.head, 1)
    t.outbox.append(Segment(t.snd_una, t.rcv_nxt, ACK, t.window_field(), b"", spans, 1, t.snd_mss))
    t.snd_max = seqnum.latest(t.snd_max, seqnum.add(t.snd_una, 1))
    t.statistics.window_probes += 1
    t.probe_backoff = min(t.probe_backoff + 1, MAX_PROBE_SHIFT)
    t.persist_at = now + min(t.rto.rto << t.probe_backoff, MAX_PROBE_INTERVAL)
