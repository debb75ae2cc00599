"""Deadlines and the retransmission time-out (RFC 6298). All times are microseconds.

A deadline is an int that is compared when somebody looks: setting one costs an assignment. Nothing is ever cancelled
in a queue.
"""

from __future__ import annotations

from typing import Final

NEVER: Final = 1 << 62
"""A deadline that never comes."""

# RFC 6298 section 2.1.
INITIAL_RTO: Final = 1_000_000
# RFC 6298 section 5.7: after a SYN was retransmitted.
INITIAL_RTO_AFTER_LOSS: Final = 3_000_000
# RFC 6298 section 2.4 says 1 s. Linux's 200 ms is what today's peers expect; it is the least value of the variance
# term, not of the sum (again as Linux), so that a peer that delays its ACK by 200 ms is never taken for a loss.
MIN_VARIANCE: Final = 200_000
# RFC 6298 section 2.5 allows 60 s or more; Linux: 120 s.
MAX_RTO: Final = 120_000_000


class RetransmissionTimeout:
    """The estimator: `rto` is what to wait now, back-off included. `srtt` is -1 before the first sample.

    `srtt` and `rttvar` are kept 8 and 4 times as large, so that the divisions of RFC 6298 lose nothing.
    """

    __slots__ = ("rto", "rttvar4", "srtt8")

    def __init__(self) -> None:
        self.srtt8 = -1
        self.rttvar4 = 0
        self.rto = INITIAL_RTO

    @property
    def srtt(self) -> int:
        """The smoothed round-trip time, -1 before the first sample."""
        return self.srtt8 >> 3

    def sample(self, rtt: int) -> None:
        """Take the round-trip time of a segment that was sent once (Karn's algorithm is the caller's)."""
        if self.srtt8 < 0:
            # RFC 6298 section 2.2.
            self.srtt8 = rtt << 3
            self.rttvar4 = rtt << 1
        else:
            # RFC 6298 section 2.3, alpha 1/8, beta 1/4.
            error = rtt - (self.srtt8 >> 3)
            self.srtt8 += error
            self.rttvar4 += (error if error >= 0 else -error) - (self.rttvar4 >> 2)
        variance = self.rttvar4 if self.rttvar4 > MIN_VARIANCE else MIN_VARIANCE
        rto = (self.srtt8 >> 3) + variance
        self.rto = rto if rto < MAX_RTO else MAX_RTO

    def back_off(self) -> None:
        """Double the time-out (RFC 6298 section 5.5)."""
        self.rto = min(self.rto * 2, MAX_RTO)
