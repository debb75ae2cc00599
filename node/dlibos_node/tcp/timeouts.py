"""The sender's timers: nothing came back in time (RFC 6298), or the window stays closed (RFC 9293 3.8.6.1)."""

from __future__ import annotations

from typing import Final

from dlibos_node.tcp import event
from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.sender import emit, gather
from dlibos_node.tcp.tcb import Tcb
from dlibos_node.tcp.timers import MAX_RTO, NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK

# RFC 9293 section 3.8.6.1 asks for exponential back-off; Linux caps probes at 120 s too.
MAX_PROBE_INTERVAL: Final = MAX_RTO
MAX_PROBE_SHIFT: Final = 10


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
    if t.snd_wnd > 0:
        emit(t, min(t.unsent, t.snd_wnd, t.snd_mss), now)
        return
    spans = gather(t.queue, 0, t.head, 1)
    t.outbox.append(Segment(t.snd_una, t.rcv_nxt, ACK, t.window_field(), b"", spans, 1, t.snd_mss))
    t.snd_max = seqnum.latest(t.snd_max, seqnum.add(t.snd_una, 1))
    t.statistics.window_probes += 1
    t.probe_backoff = min(t.probe_backoff + 1, MAX_PROBE_SHIFT)
    t.persist_at = now + min(t.rto.rto << t.probe_backoff, MAX_PROBE_INTERVAL)
