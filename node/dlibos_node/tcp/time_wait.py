"""TIME_WAIT in a few words of memory: what replaces a connection for its last minute (RFC 9293 section 3.6.1)."""

from __future__ import annotations

from typing import Final

from dlibos_node.tcp.config import DEFAULT_PEER_MSS
from dlibos_node.tcp.segment import NO_SPANS, Segment
from dlibos_node.tcp.tcb import Tcb
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK, FIN, RST, SYN

IGNORE: Final = 0
"""Nothing is to be done."""
ANSWER: Final = 1
"""Send `TimeWait.answer()`."""
REUSE: Final = 2
"""A new connection: forget this record and give the SYN to the listener, with an ISS after `snd_nxt`."""


class TimeWait:
    """The record: both next sequence numbers, and the time in microseconds at which it may be forgotten."""

    __slots__ = ("expiry", "rcv_nxt", "snd_nxt", "window")

    def __init__(self, snd_nxt: int, rcv_nxt: int, window: int, expiry: int) -> None:
        self.snd_nxt: Final = snd_nxt
        self.rcv_nxt: Final = rcv_nxt
        self.window: Final = window
        self.expiry = expiry

    @classmethod
    def of(cls, connection: Tcb) -> TimeWait:
        """Return the record of a connection in TIME_WAIT."""
        return cls(connection.snd_nxt, connection.rcv_nxt, connection.window_field(), connection.wait_at)

    def on_segment(self, seq: int, flags: int, length: int, now: int, wait: int) -> int:
        """Return what to do about a segment with `length` bytes of payload; a FIN sent again starts a new `wait`.

        A SYN beyond rcv_nxt begins a new connection (RFC 1122 section 4.2.2.13, RFC 6191 without timestamps); an RST is
        ignored (RFC 1337).
        """
        if flags & RST:
            return IGNORE
        if flags & SYN:
            fresh = not flags & ACK and seqnum.gt(seq, self.rcv_nxt)
            return REUSE if fresh else ANSWER
        if flags & FIN:
            self.expiry = now + wait
            return ANSWER
        return ANSWER if length > 0 or seq != self.rcv_nxt else IGNORE

    def answer(self) -> Segment:
        """Return the ACK that tells the peer where things stood."""
        return Segment(self.snd_nxt, self.rcv_nxt, ACK, self.window, b"", NO_SPANS, 0, DEFAULT_PEER_MSS)
