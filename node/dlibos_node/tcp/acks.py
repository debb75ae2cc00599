"""What an acknowledgement means: data delivered, a window, or a loss (RFC 9293 3.10.7.4, RFC 5681 3.2, RFC 6582).

Read sender.py first.
"""

from __future__ import annotations

from dlibos_node.tcp import event, state
from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.sender import DUPLICATE_ACKS, gather, put
from dlibos_node.tcp.tcb import Tcb
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK, FIN, PSH


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
        if t.unsent == 0:
            # The last byte was the probe.
            t.persist_at = NEVER
    # RFC 9293 section 3.10.7.4, fifth: an old segment must not bring an old window.
    if new >= 0 and (seqnum.lt(t.snd_wl1, seq) or (t.snd_wl1 == seq and seqnum.le(t.snd_wl2, ack))):
        take_window(t, seq, ack, window)
    return True


def all_of_it(t: Tcb, seq: int, ack: int, window: int, now: int) -> None:
    """`on_ack` where it nearly always ends: all data was sent, nothing else, and now all of it is acknowledged.

    The caller has seen that `ack` is snd_max and not snd_una, nothing is unsent, and we are not in fast recovery. So no
    window probe is due either, and no newer segment can have brought a newer window.
    """
    data = t.unacknowledged
    t.snd_una = ack
    t.unacknowledged = t.head = t.cursor = t.cursor_offset = 0
    t.queue.clear()
    t.events.append((event.ACKED, data))
    t.retries = t.dup_acks = 0
    t.retransmit_at = NEVER
    if t.timed_at >= 0:
        t.rto.sample(now - t.timed_at)
        t.timed_at = -1
    if data * 2 >= t.congestion.cwnd:
        t.congestion.on_ack(data, now)
    take_window(t, seq, ack, window << t.snd_scale)


def take_window(t: Tcb, seq: int, ack: int, window: int) -> None:
    """The peer states `window` bytes from `ack` on."""
    t.snd_wnd = window
    t.snd_wl1 = seq
    t.snd_wl2 = ack
    if window > t.max_snd_wnd:
        t.max_snd_wnd = window


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
