"""Adaptive moderation: nothing is held when little arrives, much is held when much arrives."""

from __future__ import annotations

from dlibos_node.roles.moderation import BUSY, Moderation

HOLD = 1000


def test_nothing_is_held_for_a_client_that_waits_for_its_answers() -> None:
    moderation = Moderation(HOLD, 96)
    assert all(moderation.arrived(1, 3, now) for now in range(0, 100_000, 650))


def test_after_a_busy_window_frames_are_held() -> None:
    moderation = Moderation(HOLD, 96)
    assert moderation.arrived(BUSY, 12, 5000)
    assert not moderation.arrived(1, 3, 6000)
    assert not moderation.arrived(5, 18, 6500)


def test_a_full_batch_goes_out_at_once() -> None:
    moderation = Moderation(HOLD, 96)
    moderation.arrived(BUSY, 12, 5000)
    assert not moderation.arrived(31, 93, 6000)
    assert moderation.arrived(1, 96, 6100)


def test_after_a_quiet_window_nothing_is_held() -> None:
    moderation = Moderation(HOLD, 96)
    moderation.arrived(100, 300, 5000)
    assert not moderation.arrived(1, 3, 6000)
    assert moderation.arrived(1, 3, 7000)


def test_a_busy_time_long_ago_says_nothing_about_now() -> None:
    moderation = Moderation(HOLD, 96)
    moderation.arrived(100, 300, 5000)
    assert moderation.arrived(1, 3, 5000 + 3 * HOLD)
