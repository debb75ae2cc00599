"""The transmission control block: everything that is known of one connection, in plain attributes.

handshake.py, receiver.py, sender.py, acks.py and timeouts.py are functions over it; connection.py is the public face.
Names are RFC 9293's. Sequence numbers are ints of 32 bits and change only through wire/seqnum.py; times are
microseconds.

  what we send         snd_una             snd_nxt         snd_max                 snd_una + snd_wnd
                          |---- in flight ----|-- to resend --|---- may be sent ----|--- not yet ---
  queue (bytes)        head of queue[0]    cursor_offset of queue[cursor]
                          |--------------- unacknowledged --------------------------------------|
                                              |------------ unsent -----------------------------|

snd_nxt equals snd_max except after a time-out, which takes snd_nxt back to snd_una, and after a window probe.

  what we receive                          rcv_nxt                          rcv_nxt + rcv_wnd
                          |---- ack_owed -----|---------- window, some of it held -----|
                       the last `unconsumed` bytes before rcv_nxt wait for the application
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import DEFAULT_PEER_MSS, MAX_WINDOW, SECOND, TcpConfig
from dlibos_node.tcp.congestion.control import CongestionControl
from dlibos_node.tcp.congestion.newreno import NewReno
from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Drop, Statistics
from dlibos_node.tcp.timers import NEVER, RetransmissionTimeout

# RFC 5961 section 7: challenge ACKs of one connection in one second.
CHALLENGES_PER_SECOND: Final = 10


class Tcb:
    """State of one connection. Only the functions of this room write it."""

    __slots__ = (
        "ack_at",
        "ack_now",
        "ack_owed",
        "challenge_at",
        "challenge_quota",
        "closing",
        "config",
        "congestion",
        "cursor",
        "cursor_offset",
        "dup_acks",
        "events",
        "fin_sent",
        "gso",
        "head",
        "held",
        "held_bytes",
        "iss",
        "max_snd_wnd",
        "opener",
        "outbox",
        "persist_at",
        "probe_backoff",
        "queue",
        "rcv_fin",
        "rcv_mss",
        "rcv_nxt",
        "rcv_scale",
        "rcv_step",
        "rcv_wnd",
        "recover",
        "recovering",
        "released",
        "retransmit_at",
        "retries",
        "rto",
        "scaling",
        "sent_at",
        "snd_max",
        "snd_mss",
        "snd_nxt",
        "snd_scale",
        "snd_una",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "state",
        "statistics",
        "timed_at",
        "timed_seq",
        "unacknowledged",
        "unconsumed",
        "unsent",
        "wait_at",
    )

    def __init__(self, config: TcpConfig, statistics: Statistics, initial_state: int, iss: int, now: int) -> None:
        self.config: Final = config
        self.statistics: Final = statistics
        self.state = initial_state
        # Did we send the first SYN?
        self.opener: Final = initial_state == state.SYN_SENT
        # What the stack takes after each call.
        self.outbox: list[Segment] = []
        self.events: list[tuple[int, Span | int | None]] = []
        self.released: list[Span] = []
        self._init_send(iss, now)
        self._init_receive(config)
        # Deadlines: RTO; delayed ACK; window probe; end of TIME_WAIT.
        self.retransmit_at = NEVER
        self.ack_at = NEVER
        self.persist_at = NEVER
        self.wait_at = NEVER
        self.challenge_at = now
        self.challenge_quota = 0

    def _init_send(self, iss: int, now: int) -> None:
        self.iss = iss
        self.snd_una = iss
        self.snd_nxt = iss
        self.snd_max = iss
        self.snd_wnd = 0
        self.max_snd_wnd = 0
        self.snd_wl1 = 0
        self.snd_wl2 = iss
        # Both SYNs carried a window scale.
        self.scaling = False
        self.snd_scale = 0
        self.snd_mss = DEFAULT_PEER_MSS
        self.gso = DEFAULT_PEER_MSS
        self.congestion: CongestionControl = NewReno(DEFAULT_PEER_MSS)
        # The send queue and the place in it that snd_nxt names.
        self.queue: deque[Span] = deque()
        self.head = 0
        self.cursor = 0
        self.cursor_offset = 0
        self.unsent = 0
        self.unacknowledged = 0
        # The application has closed; our FIN lies before snd_nxt.
        self.closing = False
        self.fin_sent = False
        # Loss: consecutive duplicate ACKs; fast recovery until `recover` is acknowledged (RFC 6582).
        self.dup_acks = 0
        self.recover = iss
        self.recovering = False
        # The one segment being timed: `timed_at` is -1 when there is none (Karn).
        self.rto = RetransmissionTimeout()
        self.timed_seq = iss
        self.timed_at = -1
        self.sent_at = now
        # Time-outs in a row, and probes in a row, without an answer; doublings of the probe interval.
        self.retries = 0
        self.probe_backoff = 0

    def _init_receive(self, config: TcpConfig) -> None:
        self.rcv_nxt = 0
        # What is left of the window we promised: below 0 when a FIN came just beyond it.
        self.rcv_wnd = 0
        self.ack_owed = 0
        self.rcv_scale = 0
        # The peer's segment size as seen, for "every second full-sized segment".
        self.rcv_mss = min(DEFAULT_PEER_MSS, config.mss)
        # RFC 9293 section 3.8.6.2.2: the least step of the window's right edge.
        self.rcv_step = max(min(config.mss, config.receive_buffer // 2), 1 << config.window_scale)
        self.unconsumed = 0
        # Out-of-order payload by sequence number; entries may overlap and are trimmed when they are delivered.
        self.held: list[tuple[int, Span]] = []
        self.held_bytes = 0
        # Sequence number of the peer's FIN, -1 while unknown.
        self.rcv_fin = -1
        self.ack_now = False

    def drop(self, reason: Drop, span: Span | None) -> None:
        """Count a refused segment and give its payload back."""
        self.statistics.drops[reason] += 1
        if span is not None:
            self.released.append(span)

    def drop_held(self) -> int:
        """Give all out-of-order payload back; return how many spans that were."""
        count = len(self.held)
        self.released.extend([span for _, span in self.held])
        self.held.clear()
        self.held_bytes = 0
        return count

    def challenge(self, now: int) -> None:
        """Owe the peer an ACK that lets it prove its case, unless it asked too often (RFC 5961 section 7)."""
        if now >= self.challenge_at:
            self.challenge_at = now + SECOND
            self.challenge_quota = CHALLENGES_PER_SECOND
        if self.challenge_quota > 0:
            self.challenge_quota -= 1
            self.statistics.challenge_acks += 1
            self.ack_now = True

    def move(self, happened: int, now: int) -> None:
        """Change the state by the table; TIME_WAIT and CLOSED end the connection for the application."""
        before = self.state
        after = state.after(before, happened)
        if after == state.CLOSED:
            self.finish(event.NORMAL)
            return
        self.state = after
        if after == state.TIME_WAIT and before != state.TIME_WAIT:
            self._stop()
            self.wait_at = now + self.config.time_wait
            self.events.append((event.CLOSED, event.NORMAL))

    def finish(self, reason: int) -> None:
        """Go to CLOSED and say why, unless the application knows already that it is over."""
        told = self.state in (state.CLOSED, state.TIME_WAIT)
        self.state = state.after(self.state, state.ABORT)
        self._stop()
        self.ack_now = False
        if not told:
            self.events.append((event.CLOSED, reason))

    def _stop(self) -> None:
        self.retransmit_at = self.ack_at = self.persist_at = self.wait_at = NEVER
        self.drop_held()
        self.queue.clear()
        self.head = self.cursor = self.cursor_offset = 0
        self.unsent = self.unacknowledged = 0

    def window_field(self) -> int:
        """Return the window to state in a segment that goes out now, scaled, and remember the promise.

        The right edge moves by `rcv_step` or not at all (RFC 9293 section 3.8.6.2.2), and never back. A scaled field
        can only name multiples of a unit, so an old promise is rounded up (RFC 7323 section 2.4 warns of rounding
        down) unless that has already added a unit that the buffer does not have.
        """
        room = self.config.receive_buffer - self.unconsumed
        promised = self.rcv_wnd
        scale = self.rcv_scale
        if room - promised >= self.rcv_step:
            field = room >> scale
        elif promised <= 0:
            return 0
        elif promised <= room + (1 << scale):
            field = (promised + (1 << scale) - 1) >> scale
        else:
            field = promised >> scale
        if field > MAX_WINDOW:
            field = MAX_WINDOW
        if (field << scale) > promised:
            self.rcv_wnd = field << scale
        return field
