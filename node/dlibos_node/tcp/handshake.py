"""Opening a connection: SYN out, SYN in, options (RFC 9293 3.5 and 3.10.7.3; MSS 3.7.1; window scale RFC 7323 2)."""

from __future__ import annotations

from dlibos_node.tcp import event, sender, state
from dlibos_node.tcp.config import DEFAULT_PEER_MSS, MAX_WINDOW, MIN_MSS
from dlibos_node.tcp.congestion.newreno import NewReno
from dlibos_node.tcp.reset import reset_for
from dlibos_node.tcp.segment import NO_SPANS, Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Drop
from dlibos_node.tcp.tcb import Tcb
from dlibos_node.tcp.timers import INITIAL_RTO_AFTER_LOSS, NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK, NO_OPTIONS, NO_WINDOW_SCALE, RST, SYN, Options


def send_syn(t: Tcb, now: int) -> None:
    """Send, or send again, the SYN of SYN_SENT or the SYN-ACK of SYN_RCVD. Its window is not scaled."""
    received = t.state == state.SYN_RCVD
    scale = t.config.window_scale if t.scaling or not received else NO_WINDOW_SCALE
    if t.timed_at < 0 and t.snd_nxt == t.iss:
        t.timed_at = now
        t.timed_seq = seqnum.add(t.iss, 1)
    t.snd_nxt = t.snd_max = seqnum.add(t.iss, 1)
    window = min(t.config.receive_buffer, MAX_WINDOW)
    options = Options(t.config.mss, scale).emit()
    flags = SYN | ACK if received else SYN
    t.outbox.append(Segment(t.iss, t.rcv_nxt, flags, window, options, NO_SPANS, 0, t.snd_mss))
    t.ack_now = False
    t.ack_owed = 0
    t.rcv_wnd = max(t.rcv_wnd, window)
    t.retransmit_at = now + t.rto.rto


def read_syn(t: Tcb, seq: int, window: int, options: Options) -> None:
    """Take over the peer's sequence number, window and options."""
    t.rcv_nxt = seqnum.add(seq, 1)
    t.rcv_wnd = t.ack_owed = 0
    t.snd_wnd = t.max_snd_wnd = window
    t.snd_wl1 = seq
    t.snd_wl2 = t.iss
    t.snd_mss = max(min(options.mss or DEFAULT_PEER_MSS, t.config.mss), MIN_MSS)
    t.gso = max(t.config.gso_max - t.config.gso_max % t.snd_mss, t.snd_mss)
    t.congestion = NewReno(t.snd_mss)
    # RFC 7323 section 2.2: both sides scale or none does.
    t.scaling = options.wscale != NO_WINDOW_SCALE
    t.snd_scale = options.wscale if t.scaling else 0
    t.rcv_scale = t.config.window_scale if t.scaling else 0


def opened(t: Tcb, ack: int, now: int) -> None:
    """Our SYN is acknowledged and the peer's is known: ESTABLISHED, and on to FIN_WAIT_1 if closed in the meantime."""
    if t.timed_at >= 0:
        t.rto.sample(now - t.timed_at)
    if t.retries > 0:
        # RFC 6298 section 5.7 and RFC 5681 section 3.1: a lost SYN warns of the path.
        t.rto.rto = INITIAL_RTO_AFTER_LOSS
        t.congestion.cwnd = t.snd_mss
    t.timed_at = -1
    t.retries = 0
    t.snd_una = ack
    t.retransmit_at = NEVER
    t.events.append((event.ESTABLISHED, None))
    t.move(state.OPENED, now)
    if t.closing:
        t.move(state.CLOSE, now)


def on_syn_sent(
    t: Tcb, seq: int, ack: int, flags: int, window: int, options: Options | None, span: Span | None, now: int
) -> None:
    """A segment in SYN_SENT (RFC 9293 section 3.10.7.3). Payload is dropped: the peer sends it again."""
    if span is not None:
        t.drop(Drop.ON_SYN, span)
    if flags & ACK and ack != t.snd_nxt:
        t.statistics.drops[Drop.BAD_ACK] += 1
        answer = reset_for(seq, ack, flags, 0)
        if answer is not None:
            t.outbox.append(answer)
        return
    if flags & RST:
        if flags & ACK:
            t.finish(event.REFUSED)
        else:
            t.statistics.drops[Drop.BAD_RST] += 1
        return
    if not flags & SYN:
        t.statistics.drops[Drop.NO_ACK] += 1
        return
    read_syn(t, seq, window, NO_OPTIONS if options is None else options)
    if flags & ACK:
        opened(t, ack, now)
        t.rcv_wnd = min(t.config.receive_buffer, MAX_WINDOW)
        t.ack_now = True
        sender.transmit(t, now)
    else:
        t.move(state.SYN, now)
        send_syn(t, now)


def on_ack(t: Tcb, seq: int, ack: int, flags: int, window: int, now: int) -> bool:
    """The ACK of our SYN in SYN_RCVD (RFC 9293 section 3.10.7.4, fifth); False if it is another's."""
    if ack != t.snd_nxt:
        answer = reset_for(seq, ack, flags, 0)
        if answer is not None:
            t.outbox.append(answer)
        return False
    opened(t, ack, now)
    t.snd_wnd = t.max_snd_wnd = window << t.snd_scale
    t.snd_wl1 = seq
    t.snd_wl2 = ack
    return True


def on_syn_again(t: Tcb, ack: int, flags: int, span: Span | None, now: int) -> None:
    """The peer's SYN once more in SYN_RCVD.

    Bare: our SYN-ACK was lost, and an ACK would tell a peer in SYN_SENT nothing. With an ACK: both opened at the same
    time and this completes it (RFC 9293 figure 8).
    """
    if span is not None:
        t.drop(Drop.ON_SYN, span)
    if not flags & ACK:
        send_syn(t, now)
    elif t.opener and ack == t.snd_nxt:
        opened(t, ack, now)
        t.ack_now = True
        sender.transmit(t, now)
    else:
        t.statistics.drops[Drop.BAD_SYN] += 1
        t.challenge(now)


def on_timeout(t: Tcb, now: int) -> None:
    """The retransmission time-out of a SYN."""
    t.retries += 1
    t.statistics.timeouts += 1
    if t.retries > t.config.syn_retries:
        t.finish(event.TIMEOUT)
        return
    t.rto.back_off()
    t.timed_at = -1
    t.statistics.retransmits += 1
    send_syn(t, now)
