"""What the sender asks of a congestion control algorithm. All sizes are bytes.

The sender owns loss detection and fast recovery (which inflate and deflate `cwnd`); the algorithm decides how the
window grows and how much of it a loss costs.
"""

from __future__ import annotations


class CongestionControl:
    """`cwnd` and `ssthresh` of one connection; the base of every algorithm."""

    __slots__ = ("cwnd", "mss", "ssthresh")

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = initial_window(mss)
        # RFC 5681 section 3.1: arbitrarily high.
        self.ssthresh = 1 << 30

    def on_ack(self, acked: int, now: int) -> None:
        """Grow for `acked` new bytes, outside of recovery, while the window was in use."""
        raise NotImplementedError

    def on_loss(self, flight: int, now: int) -> None:
        """Set `ssthresh` and `cwnd` for a loss found with `flight` bytes outstanding."""
        raise NotImplementedError

    def on_timeout(self, flight: int, now: int) -> None:
        """Set `ssthresh` for the first time-out of a segment (`flight` bytes outstanding), `cwnd` for a lost path."""
        raise NotImplementedError

    def on_idle(self) -> None:
        """Nothing was sent for a whole RTO (RFC 5681 section 4.1)."""
        self.cwnd = min(self.cwnd, initial_window(self.mss))


def initial_window(mss: int) -> int:
    """Return the first congestion window: 10 segments (RFC 6928 section 2)."""
    return min(10 * mss, max(2 * mss, 14600))
