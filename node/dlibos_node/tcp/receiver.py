"""The receiving half: what arrives, in order or not, becomes DATA exactly once; ACKs are owed (RFC 9293 3.10.7.4).

A span that comes in leaves as one DATA event, trimmed where it overlaps what was there before, or in `released`; until
then it is held. It is never split. Read tcb.py's picture first.
"""

from __future__ import annotations

from dlibos_node.tcp import event, state
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Drop
from dlibos_node.tcp.tcb import Tcb
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import seqnum


def acceptable(t: Tcb, seq: int, length: int) -> bool:
    """Does a segment of `length` sequence numbers touch the window (RFC 9293 section 3.10.7.4, first)?

    Unlike the RFC's table, a segment exactly next in sequence passes even when the window is closed, so that its ACK is
    read; `accept` refuses its payload.
    """
    offset = seqnum.sub(seq, t.rcv_nxt)
    if offset == 0:
        return True
    if offset > 0:
        return offset < t.rcv_wnd
    return offset + length > 0


def accept(t: Tcb, seq: int, span: Span | None, fin: bool, now: int) -> None:
    """Take the payload and FIN of an acceptable segment."""
    if not state.may_receive(t.state):
        t.ack_now = True
        if span is not None:
            t.drop(Drop.AFTER_CLOSE, span)
        return
    if fin:
        note_fin(t, seqnum.add(seq, span.length if span is not None else 0))
    if span is not None:
        accept_payload(t, seq, span, now)
    if t.rcv_fin == t.rcv_nxt:
        finish_receiving(t, now)


def note_fin(t: Tcb, seq: int) -> None:
    """Remember where the peer's data ends; a FIN takes no buffer, so the window's right edge itself is in order."""
    t.ack_now = True
    if t.rcv_fin < 0 and 0 <= seqnum.sub(seq, t.rcv_nxt) <= max(t.rcv_wnd, 0):
        t.rcv_fin = seq


def accept_payload(t: Tcb, seq: int, span: Span, now: int) -> None:
    """Deliver, hold or drop one span."""
    clipped = clip(t, seq, span)
    if clipped is None:
        late = seqnum.sub(seq, t.rcv_nxt) < 0
        t.drop(Drop.DUPLICATE if late else Drop.OUT_OF_WINDOW, span)
        t.ack_now = True
    elif seqnum.gt(seq, t.rcv_nxt):
        hold(t, seq, clipped, span)
    else:
        deliver(t, clipped, now)
        t.ack_now = t.ack_now or clipped is not span


def clip(t: Tcb, seq: int, span: Span) -> Span | None:
    """Return the part of `span` that is new, in the window and not behind the FIN: None if nothing is."""
    offset = seqnum.sub(seq, t.rcv_nxt)
    start = max(-offset, 0)
    end = min(span.length, t.rcv_wnd - offset if t.rcv_fin < 0 else seqnum.sub(t.rcv_fin, seq))
    if end <= start:
        return None
    return span if end - start == span.length else span.part(start, end - start)


def deliver(t: Tcb, span: Span, now: int) -> None:
    """Pass on a span that begins at rcv_nxt, and what was held behind it. The hot path of reception."""
    length = span.length
    take(t, span)
    if t.held:
        # RFC 5681 section 4.2: an ACK at once when a gap is filled, wholly or in part.
        t.ack_now = True
        deliver_held(t)
        return
    if length > t.rcv_mss:
        t.rcv_mss = min(length, t.config.mss)
    # RFC 9293 section 3.8.6.3: at least every second full-sized segment; a merged one counts as several.
    if t.ack_owed >= 2 * t.rcv_mss:
        t.ack_now = True
    elif t.ack_at == NEVER:
        t.ack_at = now + t.config.delayed_ack


def take(t: Tcb, span: Span) -> None:
    """The next bytes in order go to the application."""
    length = span.length
    t.rcv_nxt = seqnum.add(t.rcv_nxt, length)
    t.rcv_wnd -= length
    t.ack_owed += length
    t.unconsumed += length
    t.events.append((event.DATA, span))


def deliver_held(t: Tcb) -> None:
    """Pass on the held spans that are now in order."""
    done = 0
    for seq, span in t.held:
        if seqnum.gt(seq, t.rcv_nxt):
            break
        done += 1
        t.held_bytes -= span.length
        clipped = clip(t, seq, span)
        if clipped is None:
            t.drop(Drop.DUPLICATE, span)
            continue
        take(t, clipped)
    del t.held[:done]


def hold(t: Tcb, seq: int, clipped: Span, span: Span) -> None:
    """Keep an out-of-order span, if it may; `span` is what came in, `clipped` the part of it inside the window."""
    t.ack_now = True
    t.statistics.out_of_order += 1
    held = t.held
    full = len(held) >= t.config.max_held_spans or t.held_bytes + clipped.length > t.config.receive_buffer
    if full:
        t.drop(Drop.HELD_FULL, span)
        return
    at = len(held)
    while at > 0 and seqnum.gt(held[at - 1][0], seq):
        at -= 1
    if at > 0 and covers(held[at - 1], seq, clipped.length):
        t.drop(Drop.DUPLICATE, span)
        return
    held.insert(at, (seq, clipped))
    t.held_bytes += clipped.length


def covers(entry: tuple[int, Span], seq: int, length: int) -> bool:
    """Does a held entry that begins at or before `seq` reach as far as the `length` bytes from there?"""
    start, span = entry
    return seqnum.sub(seq, start) + length <= span.length


def finish_receiving(t: Tcb, now: int) -> None:
    """The peer's FIN is next in sequence (RFC 9293 section 3.10.7.4, eighth)."""
    t.rcv_nxt = seqnum.add(t.rcv_nxt, 1)
    t.rcv_wnd -= 1
    t.drop_held()
    t.events.append((event.PEER_CLOSED, None))
    t.move(state.FIN, now)
    t.ack_now = True
