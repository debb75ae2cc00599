"""The retransmission time-out against RFC 6298, in real arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.tcp.timers import INITIAL_RTO, MAX_RTO, MIN_VARIANCE, RetransmissionTimeout


def test_before_the_first_sample() -> None:
    timeout = RetransmissionTimeout()
    assert timeout.rto == INITIAL_RTO == 1_000_000
    assert timeout.srtt == -1


def test_first_sample() -> None:
    timeout = RetransmissionTimeout()
    timeout.sample(100_000)
    assert timeout.srtt == 100_000
    assert timeout.rto == 100_000 + 4 * 50_000


def test_variance_has_a_floor_and_the_whole_a_ceiling() -> None:
    timeout = RetransmissionTimeout()
    timeout.sample(1_000)
    assert timeout.rto == 1_000 + MIN_VARIANCE
    for _ in range(30):
        timeout.back_off()
    assert timeout.rto == MAX_RTO


def test_back_off_doubles_until_the_next_sample() -> None:
    timeout = RetransmissionTimeout()
    timeout.sample(1_000)
    timeout.back_off()
    assert timeout.rto == 402_000
    timeout.sample(1_000)
    assert timeout.rto == 201_000


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=50))
def test_follows_the_formulas(samples: list[int]) -> None:
    timeout = RetransmissionTimeout()
    srtt, rttvar = float(samples[0]), samples[0] / 2
    timeout.sample(samples[0])
    for rtt in samples[1:]:
        rttvar += (abs(srtt - rtt) - rttvar) / 4
        srtt += (rtt - srtt) / 8
        timeout.sample(rtt)
    expected = srtt + max(4 * rttvar, MIN_VARIANCE)
    assert abs(timeout.rto - min(expected, MAX_RTO)) <= 4 * len(samples) + 8
