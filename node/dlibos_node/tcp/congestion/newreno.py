"""Slow start and congestion avoidance of RFC 5681, with the byte counting of its section 3.1.

Two notes. Slow start grows by all bytes that an ACK covers, without the limit of 2 segments of RFC 3465 section 2.2:
a kernel peer that receives a 64 KiB burst acknowledges it at once, and counting that as two segments would make slow
start take minutes. Linux does the same. And fast recovery (RFC 6582) is in acks.py.
"""

from __future__ import annotations

from typing import Final

from dlibos_node.tcp.congestion.control import CongestionControl

MAX_CWND: Final = 1 << 30


class NewReno(CongestionControl):
    """`counted`: bytes acknowledged since congestion avoidance last grew the window."""

    __slots__ = ("counted",)

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self.counted = 0

    def on_ack(self, acked: int, now: int) -> None:
        """Grow: exponentially below `ssthresh`, then one segment for each window acknowledged."""
        if self.cwnd < self.ssthresh:
            self.cwnd = min(self.cwnd + acked, max(self.ssthresh, self.cwnd + self.mss), MAX_CWND)
            return
        self.counted += acked
        if self.counted >= self.cwnd:
            self.counted -= self.cwnd
            self.cwnd = min(self.cwnd + self.mss, MAX_CWND)

    def on_loss(self, flight: int, now: int) -> None:
        """Halve (RFC 5681 equation 4)."""
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.ssthresh
        self.counted = 0

    def on_timeout(self, flight: int, now: int) -> None:
        """Start slowly from one segment (RFC 5681 section 3.1, loss window)."""
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss
        self.counted = 0
