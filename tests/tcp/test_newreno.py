"""Growth and reduction of the congestion window (RFC 5681, RFC 6928)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.tcp.congestion.control import CongestionControl, initial_window
from dlibos_node.tcp.congestion.newreno import NewReno

MSS = 1_000


@pytest.mark.parametrize(("mss", "window"), [(536, 5_360), (1_460, 14_600), (2_000, 14_600), (9_000, 18_000)])
def test_initial_window(mss: int, window: int) -> None:
    assert initial_window(mss) == NewReno(mss).cwnd == window


def test_slow_start_doubles_in_a_round_trip() -> None:
    control = NewReno(MSS)
    before = control.cwnd
    for _ in range(before // MSS):
        control.on_ack(MSS, 0)
    assert control.cwnd == 2 * before


def test_slow_start_ends_at_ssthresh() -> None:
    control = NewReno(MSS)
    control.ssthresh = control.cwnd + 500
    control.on_ack(64_000, 0)
    assert control.cwnd == 11 * MSS


def test_congestion_avoidance_adds_one_segment_in_a_round_trip() -> None:
    control = NewReno(MSS)
    control.on_loss(40 * MSS, 0)
    assert control.cwnd == control.ssthresh == 20 * MSS
    for _ in range(20):
        control.on_ack(MSS, 0)
    assert control.cwnd == 21 * MSS


def test_time_out_starts_from_one_segment() -> None:
    control = NewReno(MSS)
    control.on_timeout(30 * MSS, 0)
    assert (control.cwnd, control.ssthresh) == (MSS, 15 * MSS)


def test_least_ssthresh_is_two_segments() -> None:
    control = NewReno(MSS)
    control.on_loss(MSS, 0)
    assert control.ssthresh == 2 * MSS


def test_idleness_returns_to_the_initial_window_but_never_grows() -> None:
    control = NewReno(MSS)
    control.cwnd = 100 * MSS
    control.on_idle()
    assert control.cwnd == 10 * MSS
    control.cwnd = 3 * MSS
    control.on_idle()
    assert control.cwnd == 3 * MSS


@given(st.lists(st.tuples(st.sampled_from(["ack", "loss", "timeout"]), st.integers(1, 1 << 20)), max_size=100))
def test_window_stays_within_bounds(script: list[tuple[str, int]]) -> None:
    control = NewReno(MSS)
    for name, size in script:
        {"ack": control.on_ack, "loss": control.on_loss, "timeout": control.on_timeout}[name](size, 0)
        assert MSS <= control.cwnd <= 1 << 30
        assert control.ssthresh >= 2 * MSS


def test_interface_leaves_the_policy_open() -> None:
    control = CongestionControl(MSS)
    for method in (control.on_ack, control.on_loss, control.on_timeout):
        with pytest.raises(NotImplementedError):
            method(1, 0)
