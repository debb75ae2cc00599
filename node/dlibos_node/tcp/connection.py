"""One TCP connection, sans I/O: segments, spans and `now` go in; segments, events and the next deadline come out.

Read state.py (states and transitions) and tcb.py (what is known, with pictures) first. This file is the public face and
the order of RFC 9293 section 3.10.7; handshake.py, receiver.py, sender.py, acks.py and timeouts.py do the work. After
each call the owner takes `outbox`, `events` and `released`, clears them, and calls `on_timer` at `deadline`.

`on_segment` and `send` begin with the case that nearly always holds (header prediction, as in BSD): the connection is
open, the segment is the next one and carries nothing but data and an ACK; the queue is empty and both windows are open.
"""

from __future__ import annotations

from typing import Final

from dlibos_node.tcp import acks, event, handshake, receiver, sender, state, timeouts
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.reset import reset_for
from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Drop, Statistics
from dlibos_node.tcp.tcb import Tcb
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK, FIN, PSH, RST, SYN, Options

_CONTROL: Final = FIN | SYN | RST | ACK
_ACK_PSH: Final = ACK | PSH
# A window update of its own is worth a segment only when the peer is about to run out (see `consume`).
_LOW_WINDOW: Final = 32_768
_RESETTABLE: Final = (
    state.SYN_RCVD,
    state.ESTABLISHED,
    state.FIN_WAIT_1,
    state.FIN_WAIT_2,
    state.CLOSE_WAIT,
)


class Connection(Tcb):
    """A connection as its owner sees it. Times are microseconds of one monotonic clock."""

    __slots__ = ()

    @classmethod
    def passive(
        cls,
        config: TcpConfig,
        iss: int,
        syn_seq: int,
        window: int,
        options: Options,
        now: int,
        statistics: Statistics | None = None,
    ) -> Connection:
        """Answer a SYN that arrived for a listener; the SYN-ACK waits in the outbox.

        `iss` is our initial sequence number, `window` the SYN's field as on the wire.
        """
        self = cls(config, statistics or Statistics(), state.SYN_RCVD, iss, now)
        handshake.read_syn(self, syn_seq, window, options)
        handshake.send_syn(self, now)
        return self

    @classmethod
    def active(cls, config: TcpConfig, iss: int, now: int, statistics: Statistics | None = None) -> Connection:
        """Open towards a peer; the SYN waits in the outbox."""
        self = cls(config, statistics or Statistics(), state.SYN_SENT, iss, now)
        handshake.send_syn(self, now)
        return self

    @property
    def deadline(self) -> int:
        """The time at which `on_timer` must be called, NEVER if there is none. A call too early does nothing."""
        return min(self.retransmit_at, self.ack_at, self.persist_at, self.wait_at)

    @property
    def send_room(self) -> int:
        """Bytes that may still be queued before the send buffer is full; not enforced by `send`."""
        return self.config.send_buffer - self.unacknowledged

    def on_segment(
        self,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        options: Options | None,
        span: Span | None,
        now: int,
    ) -> None:
        """Process one segment whose checksum is right. `options` matter on a SYN only; `window` as on the wire.

        A span is owned by the connection from here on: it comes out in a DATA event or in `released`.
        """
        if self.state == state.ESTABLISHED and flags & _CONTROL == ACK and seq == self.rcv_nxt:
            self._expected(seq, ack, window, span, now)
        elif self.state == state.SYN_SENT:
            handshake.on_syn_sent(self, seq, ack, flags, window, options, span, now)
        elif self.state == state.CLOSED:
            self._not_here(seq, ack, flags, span)
        else:
            self._arrives(seq, ack, flags, window, span, now)
        if self.ack_now:
            sender.emit_ack(self)

    def _expected(self, seq: int, ack: int, window: int, span: Span | None, now: int) -> None:
        """The next segment of an open connection, with nothing but data and an ACK."""
        una = self.snd_una
        if ack == self.snd_max and ack != una and self.unsent == 0 and not self.recovering:
            acks.all_of_it(self, seq, ack, window, now)
        elif (ack != una or span is None or window << self.snd_scale != self.snd_wnd) and not acks.on_ack(
            self, seq, ack, window, span is None, now
        ):
            self.drop(Drop.BAD_ACK, span)
            return
        if span is not None:
            if 0 < span.length <= self.rcv_wnd and self.rcv_fin < 0:
                receiver.deliver(self, span, now)
            else:
                receiver.accept(self, seq, span, False, now)
        if self.unsent > 0:
            sender.transmit(self, now)

    def _not_here(self, seq: int, ack: int, flags: int, span: Span | None) -> None:
        answer = reset_for(seq, ack, flags, span.length if span is not None else 0)
        if answer is not None:
            self.outbox.append(answer)
        if span is not None:
            self.drop(Drop.AFTER_CLOSE, span)

    def _arrives(self, seq: int, ack: int, flags: int, window: int, span: Span | None, now: int) -> None:
        """RFC 9293 section 3.10.7.4, in its order."""
        length = span.length if span is not None else 0
        fin = flags & FIN != 0
        if self.state == state.SYN_RCVD and flags & (SYN | RST) == SYN and seq == seqnum.add(self.rcv_nxt, -1):
            handshake.on_syn_again(self, ack, flags, span, now)
            return
        # First: the sequence number.
        if not receiver.acceptable(self, seq, length + fin):
            self._unacceptable(seq, flags, span, now)
            return
        # Second to fourth: RST, (security,) SYN.
        if flags & (RST | SYN):
            self._control(seq, flags, span, now)
            return
        # Fifth: ACK.
        if not flags & ACK:
            self.drop(Drop.NO_ACK, span)
            return
        if not self._acknowledged(seq, ack, flags, window, length == 0 and not fin, now):
            self.drop(Drop.BAD_ACK, span)
            return
        # Sixth (urgent data is ordinary data here), seventh and eighth: payload, FIN.
        if self.state in (state.TIME_WAIT, state.CLOSED):
            self._after_end(fin, span, now)
            return
        if span is not None or fin:
            receiver.accept(self, seq, span, fin, now)
        sender.transmit(self, now)

    def _acknowledged(self, seq: int, ack: int, flags: int, window: int, empty: bool, now: int) -> bool:
        if self.state == state.SYN_RCVD:
            return handshake.on_ack(self, seq, ack, flags, window, now)
        if self.state == state.TIME_WAIT:
            return True
        return acks.on_ack(self, seq, ack, window, empty, now)

    def _after_end(self, fin: bool, span: Span | None, now: int) -> None:
        if span is not None:
            self.drop(Drop.AFTER_CLOSE, span)
        if fin and self.state == state.TIME_WAIT:
            self.ack_now = True

    def _unacceptable(self, seq: int, flags: int, span: Span | None, now: int) -> None:
        late = seqnum.sub(seq, self.rcv_nxt) < 0
        self.drop(Drop.DUPLICATE if late else Drop.OUT_OF_WINDOW, span)
        if flags & RST:
            return
        if self.state == state.TIME_WAIT and flags & FIN:
            self.wait_at = now + self.config.time_wait
        if span is not None or flags & FIN:
            self.ack_now = True
        else:
            # Two sides that both find the other's empty ACK unacceptable must not go on for ever.
            self.challenge(now)

    def _control(self, seq: int, flags: int, span: Span | None, now: int) -> None:
        """RST or SYN inside the window (RFC 5961 sections 3.2 and 4.2); payload of such segments is not used."""
        if not flags & RST:
            self.drop(Drop.BAD_SYN, span)
            self.challenge(now)
        elif self.state == state.TIME_WAIT:
            # RFC 1337: an old RST must not end TIME_WAIT.
            self.drop(Drop.BAD_RST, span)
        elif seq != self.rcv_nxt:
            self.drop(Drop.BAD_RST, span)
            self.challenge(now)
        else:
            if span is not None:
                self.released.append(span)
            refused = self.state == state.SYN_RCVD and self.opener
            self.finish(event.REFUSED if refused else event.RESET)

    def on_timer(self, now: int) -> None:
        """Do what is due at `now`."""
        if self.ack_at <= now:
            sender.emit_ack(self)
        if self.retransmit_at <= now:
            if self.state <= state.SYN_RCVD:
                handshake.on_timeout(self, now)
            else:
                timeouts.on_timeout(self, now)
        if self.persist_at <= now:
            timeouts.on_probe(self, now)
        if self.wait_at <= now:
            self.finish(event.NORMAL)

    def send(self, span: Span, now: int) -> None:
        """Queue `span` and send what the windows allow. Its bytes must not change until ACKED has covered them."""
        if self.closing or self.state == state.CLOSED or span.length == 0:
            self.statistics.drops[Drop.SEND_CLOSED] += 1
            return
        length = span.length
        idle = self.unsent == 0
        self.queue.append(span)
        self.unsent += length
        self.unacknowledged += length
        if idle and self._may_go_at_once(length, now):
            self._go(span, length, now)
        else:
            sender.transmit(self, now)

    def _may_go_at_once(self, length: int, now: int) -> bool:
        """Is this the plain case: all sent before, nothing lost, room for all of it in both windows?"""
        flight = self.unacknowledged
        return (
            flight <= self.snd_wnd
            and flight <= self.congestion.cwnd
            and self.state == state.ESTABLISHED
            and length <= self.gso
            and self.snd_nxt == self.snd_max
            and (self.config.nodelay or flight == length)
            and now - self.sent_at <= self.rto.rto
        )

    def _go(self, span: Span, length: int, now: int) -> None:
        """What sender.emit does, for one whole span at the end of the queue."""
        seq = self.snd_nxt
        window = self.window_field()
        self.outbox.append(Segment(seq, self.rcv_nxt, _ACK_PSH, window, b"", (span,), length, self.snd_mss))
        self.cursor += 1
        self.unsent = 0
        self.snd_nxt = self.snd_max = seqnum.add(seq, length)
        self.ack_at = NEVER
        self.ack_owed = 0
        self.sent_at = now
        if self.timed_at < 0:
            self.timed_at = now
            self.timed_seq = self.snd_nxt
        if self.retransmit_at == NEVER:
            self.retransmit_at = now + self.rto.rto

    def consume(self, count: int, now: int) -> None:
        """The application has done with `count` more bytes of DATA; may send a window update.

        Most updates ride on other segments. One of its own goes out when less than 32 KiB (or half the buffer) of the
        promised window is left, and it can be moved by a step that RFC 9293 section 3.8.6.2.2 allows.
        """
        self.unconsumed -= count
        promised = self.rcv_wnd
        if promised >= _LOW_WINDOW or not state.may_receive(self.state):
            return
        buffer = self.config.receive_buffer
        room = buffer - self.unconsumed
        if promised * 2 <= buffer and room >= 2 * promised and room - promised >= self.rcv_step:
            sender.emit_ack(self)

    def shutdown(self, now: int) -> None:
        """Send FIN behind what is queued; receiving goes on. Again or after the end: nothing."""
        if self.closing or self.state == state.CLOSED:
            return
        self.closing = True
        if self.state >= state.ESTABLISHED:
            self.move(state.CLOSE, now)
            sender.transmit(self, now)

    def abort(self, now: int) -> None:
        """Drop everything, send RST where the peer may know of us (RFC 9293 section 3.10.5); CLOSED (RESET) follows."""
        if self.state in _RESETTABLE:
            sender.emit_reset(self)
        self.finish(event.RESET)

    def memory_pressure(self) -> None:
        """Give back the out-of-order payload: the peer will send it again."""
        self.statistics.drops[Drop.MEMORY_PRESSURE] += self.drop_held()
