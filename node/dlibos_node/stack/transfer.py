"""A connection as words: how a flow goes from one stack tile to another.

Times are relative, for the receiver's clock. What follows from the rest is not sent: the place of snd_nxt in the send
queue, the sum of what is unacknowledged. Out-of-order payload stays behind: the peer has not been told of it. The
receiver believes nothing: `unpack` gives None for a state that no connection can be in.

    0 key                              10 snd_wnd, max_snd_wnd             20 delayed ACK in
    1 flags, state, scales, app, route 11 snd_mss, rcv_mss, counters       21 window probe in
    2 peer's MAC                       12 rcv_nxt, rcv_fin                 22 segment being timed since
    3 owing, read                      13 rcv_wnd + 1, ack_owed            23 last sent
    4 bytes acknowledged, not reported 14 cwnd, ssthresh                   24 challenge quota renewed in
    5 iss, snd_una                     15 counted                          25 head, unsent
    6 snd_nxt, snd_max                 16 srtt8 + 1                        26 unread spans, queued spans
    7 snd_wl1, snd_wl2                 17 rttvar4
    8 recover, timed_seq               18 rto                              then (place, lease) of each unread span
    9 0                                19 retransmission in                then (place, lease) of each queued span
"""

from __future__ import annotations

from typing import Final

from dlibos_node.stack.flow import Flow, Header
from dlibos_node.tcp import state
from dlibos_node.tcp.config import MAX_WINDOW, MIN_MSS, SECOND, TcpConfig
from dlibos_node.tcp.congestion.newreno import MAX_CWND, NewReno
from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Statistics
from dlibos_node.tcp.tcb import CHALLENGES_PER_SECOND, Tcb
from dlibos_node.tcp.time_wait import TimeWait
from dlibos_node.tcp.timers import MAX_RTO, NEVER
from dlibos_node.wire import seqnum

HEAD: Final = 27
RECORD: Final = 3  # words of a connection in TIME-WAIT
NONE: Final = (1 << 64) - 1  # a time that is not set
_LOW: Final = 0xFFFF_FFFF
_HIGH: Final = 0xFFFF_FFFF_0000_0000
_LATER: Final = 2 * MAX_RTO  # microseconds: no deadline is further away
_MAX_SCALE: Final = 14  # RFC 7323 section 2.3

# Bits of word 1.
_ESTABLISHED: Final = 1
_SCALING: Final = 2
_CLOSING: Final = 4
_FIN_SENT: Final = 8
_RECOVERING: Final = 16
_FIN_KNOWN: Final = 32


def pack(flow: Flow, acknowledged: int, now: int) -> list[int]:
    """Return the words of a flow that nothing waits in (no event, no segment, nothing out of order).

    `acknowledged`: bytes that the application has yet to be told of.
    """
    t = flow.conn
    words = [
        flow.key,
        _flags(flow) | t.state << 8 | t.snd_scale << 12 | t.rcv_scale << 16 | flow.app << 32 | flow.route << 48,
        int.from_bytes(flow.header.peer_mac, "big"),
        flow.owing << 32 | flow.read,
        acknowledged,
        t.iss << 32 | t.snd_una,
        t.snd_nxt << 32 | t.snd_max,
        t.snd_wl1 << 32 | t.snd_wl2,
        t.recover << 32 | t.timed_seq,
        0,
        t.snd_wnd << 32 | t.max_snd_wnd,
        t.snd_mss << 48 | t.rcv_mss << 32 | t.retries << 24 | t.probe_backoff << 16 | t.challenge_quota,
        t.rcv_nxt << 32 | max(t.rcv_fin, 0),
        (t.rcv_wnd + 1) << 32 | t.ack_owed,
    ]
    words += _congestion(t)
    words += [_in(t.retransmit_at, now), _in(t.ack_at, now), _in(t.persist_at, now)]
    words += [now - t.timed_at if t.timed_at >= 0 else NONE, max(now - t.sent_at, 0), max(t.challenge_at - now, 0)]
    words += [t.head << 32 | t.unsent, len(flow.unread) << 32 | len(t.queue)]
    for span in (*flow.unread, *t.queue):
        words += (span.offset << 32 | span.length, span.lease)
    return words


def _flags(flow: Flow) -> int:
    t = flow.conn
    return (
        _ESTABLISHED * flow.established
        | _SCALING * t.scaling
        | _CLOSING * t.closing
        | _FIN_SENT * t.fin_sent
        | _RECOVERING * t.recovering
        | _FIN_KNOWN * (t.rcv_fin >= 0)
    )


def _congestion(t: Tcb) -> list[int]:
    congestion = t.congestion
    counted = congestion.counted if isinstance(congestion, NewReno) else 0
    dup_acks = min(t.dup_acks, 0xFFFF)
    return [
        congestion.cwnd << 32 | congestion.ssthresh,
        dup_acks << 48 | counted,
        t.rto.srtt8 + 1,
        t.rto.rttvar4,
        t.rto.rto,
    ]


def _in(deadline: int, now: int) -> int:
    return NONE if deadline >= NEVER else max(deadline - now, 0)


def unpack(
    handle: int, words: list[int], config: TcpConfig, statistics: Statistics, mac: bytes, address: int, now: int
) -> Flow | None:
    """Return the flow of these words; None if they make no sense. `mac` and `address` are the interface's."""
    if len(words) < HEAD or len(words) != HEAD + 2 * ((words[26] >> 32) + (words[26] & _LOW)):
        return None
    key, facts = words[0], words[1]
    conn = Connection(config, statistics, facts >> 8 & 0xF, words[5] >> 32, now)
    _read_send(conn, words)
    _read_receive(conn, words)
    _read_times(conn, words, now)
    header = Header(key, mac, (words[2] & (1 << 48) - 1).to_bytes(6, "big"), address)
    flow = Flow(key, handle, conn, header, facts >> 32 & 0xFFFF, facts >> 48)
    flow.established = bool(facts & _ESTABLISHED)
    flow.owing = conn.unconsumed = words[3] >> 32
    flow.read = words[3] & _LOW
    unread = HEAD + 2 * (words[26] >> 32)
    flow.unread.extend([Span(words[i + 1], words[i] >> 32, words[i] & _LOW) for i in range(HEAD, unread, 2)])
    for i in range(unread, len(words), 2):
        conn.queue.append(Span(words[i + 1], words[i] >> 32, words[i] & _LOW))
    _find_cursor(conn)
    return flow if _sound(flow) else None


def _read_send(t: Connection, words: list[int]) -> None:
    facts, small = words[1], words[11]
    t.scaling, t.closing = bool(facts & _SCALING), bool(facts & _CLOSING)
    t.fin_sent, t.recovering = bool(facts & _FIN_SENT), bool(facts & _RECOVERING)
    t.snd_una, t.snd_nxt, t.snd_max = words[5] & _LOW, words[6] >> 32, words[6] & _LOW
    t.snd_wl1, t.snd_wl2 = words[7] >> 32, words[7] & _LOW
    t.recover, t.timed_seq = words[8] >> 32, words[8] & _LOW
    t.snd_wnd, t.max_snd_wnd = words[10] >> 32, words[10] & _LOW
    t.snd_scale = facts >> 12 & 0xF
    t.snd_mss = small >> 48
    t.gso = max(t.config.gso_max - t.config.gso_max % max(t.snd_mss, 1), t.snd_mss)
    t.retries, t.probe_backoff = small >> 24 & 0xFF, small >> 16 & 0xFF
    t.challenge_quota = min(small & 0xFFFF, CHALLENGES_PER_SECOND)
    congestion = NewReno(t.snd_mss)
    congestion.cwnd, congestion.ssthresh = words[14] >> 32, words[14] & _LOW
    congestion.counted = words[15] & _LOW
    t.congestion = congestion
    t.dup_acks = words[15] >> 48
    t.rto.srtt8, t.rto.rttvar4, t.rto.rto = words[16] - 1, words[17], words[18]
    t.head, t.unsent = words[25] >> 32, words[25] & _LOW


def _read_receive(t: Connection, words: list[int]) -> None:
    t.rcv_scale = words[1] >> 16 & 0xF
    t.rcv_mss = words[11] >> 32 & 0xFFFF
    t.rcv_nxt = words[12] >> 32
    t.rcv_fin = words[12] & _LOW if words[1] & _FIN_KNOWN else -1
    t.rcv_wnd = (words[13] >> 32) - 1
    t.ack_owed = words[13] & _LOW


def _read_times(t: Connection, words: list[int], now: int) -> None:
    t.retransmit_at, t.ack_at, t.persist_at = (_at(words[i], now) for i in (19, 20, 21))
    t.timed_at = -1 if words[22] == NONE else max(now - words[22], 0)
    t.sent_at = max(now - words[23], 0)
    t.challenge_at = now + min(words[24], SECOND)


def _at(delay: int, now: int) -> int:
    return NEVER if delay == NONE else now + min(delay, _LATER)


def _find_cursor(t: Connection) -> None:
    """Put the cursor where snd_nxt is: behind what is unacknowledged and not unsent."""
    t.unacknowledged = sum([span.length for span in t.queue]) - t.head
    t.cursor, t.cursor_offset = 0, t.head + t.unacknowledged - t.unsent
    while t.cursor < len(t.queue) and t.cursor_offset >= t.queue[t.cursor].length:
        t.cursor_offset -= t.queue[t.cursor].length
        t.cursor += 1


def _sound(flow: Flow) -> bool:
    t = flow.conn
    return _sound_state(flow) and _sound_sending(t) and _sound_estimates(t) and _sound_receiving(flow)


def _sound_state(flow: Flow) -> bool:
    t = flow.conn
    opened = state.ESTABLISHED <= t.state <= state.LAST_ACK
    if not flow.established:
        return t.state == state.SYN_RCVD and not t.queue and not flow.unread and not flow.owing
    return opened and (t.closing or not t.fin_sent)


def _sound_sending(t: Connection) -> bool:
    sent = t.unacknowledged - t.unsent
    lengths = all(span.length > 0 for span in t.queue)
    inside = t.head < t.queue[0].length if t.queue else t.head == 0 == t.unsent
    # A SYN or FIN of ours takes a sequence number too.
    flight = seqnum.sub(t.snd_nxt, t.snd_una)
    return (
        lengths
        and inside
        and sent >= 0
        and sent <= flight <= sent + 1
        and flight <= seqnum.sub(t.snd_max, t.snd_una) <= t.unacknowledged + 1
        and t.snd_wnd <= t.max_snd_wnd <= MAX_WINDOW << _MAX_SCALE
        and t.snd_scale <= _MAX_SCALE
        and MIN_MSS <= t.snd_mss <= t.config.mss
    )


def _sound_estimates(t: Connection) -> bool:
    return (
        t.snd_mss <= t.congestion.cwnd <= MAX_CWND + _LOW // 2
        and -1 <= t.rto.srtt8 <= 16 * _LATER
        and t.rto.rttvar4 <= 16 * _LATER
        and 0 < t.rto.rto <= MAX_RTO
    )


def _sound_receiving(flow: Flow) -> bool:
    t, buffer = flow.conn, flow.conn.config.receive_buffer
    lengths = [span.length for span in flow.unread]
    scaled = t.config.window_scale if t.scaling else 0
    return (
        t.rcv_scale in (0, scaled)
        and t.rcv_wnd <= buffer + MAX_WINDOW
        and t.ack_owed <= 2 * buffer
        and all(0 < length <= MAX_WINDOW * 2 for length in lengths)
        and sum(lengths) - flow.read == flow.owing
        and (flow.read < lengths[0] if lengths else flow.read == 0)
    )


def pack_waiting(key: int, record: TimeWait, now: int) -> list[int]:
    """Return the words of a connection in TIME-WAIT."""
    return [key, record.snd_nxt << 32 | record.rcv_nxt, record.window << 32 | max(record.expiry - now, 0)]


def unpack_waiting(words: list[int], config: TcpConfig, now: int) -> list[tuple[int, TimeWait]]:
    """Return the records in the words of a message, with their keys."""
    found = []
    for i in range(0, len(words) - RECORD + 1, RECORD):
        left = min(words[i + 2] & _LOW, config.time_wait)
        window = words[i + 2] >> 32 & MAX_WINDOW
        found.append((words[i], TimeWait(words[i + 1] >> 32, words[i + 1] & _LOW, window, now + left)))
    return found
