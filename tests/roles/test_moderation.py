"""Adaptive moderation: nothing is held when little arrives, much is held while the stack tile is busy."""

from __future__ import annotations

from dlibos_node.roles.moderation import BUSY, WINDOW, Moderation

HOLD = 2000
WORDS = 96
START = 5000


def busy() -> Moderation:
    """Return the state after a busy window and one batch of 12 words, at the start of the next window."""
    moderation = Moderation(HOLD, WORDS)
    moderation.arrived(BUSY, START)
    moderation.sent(12)
    moderation.arrived(1, START + WINDOW)
    return moderation


def test_nothing_is_held_for_a_client_that_waits_for_its_answers() -> None:
    moderation = Moderation(HOLD, WORDS)
    for now in range(0, 100_000, 650):
        moderation.arrived(1, now)
        assert moderation.due(3, 1000, now)
        moderation.sent(3)


def test_frames_are_held_while_the_stack_has_two_batches() -> None:
    assert not busy().due(3, 13, START + WINDOW)


def test_frames_go_out_when_only_the_last_batch_is_with_the_stack() -> None:
    assert busy().due(3, 12, START + WINDOW)
    assert busy().due(3, 0, START + WINDOW)


def test_a_full_batch_goes_out_at_once() -> None:
    assert not busy().due(WORDS - 3, 13, START + WINDOW)
    assert busy().due(WORDS, 13, START + WINDOW)


def test_no_frame_waits_longer_than_the_hold() -> None:
    moderation = busy()
    assert not moderation.due(3, 13, START + WINDOW + HOLD - 1)
    assert moderation.due(3, 13, START + WINDOW + HOLD)


def test_nothing_is_sent_when_nothing_waits() -> None:
    assert not busy().due(0, 0, START + WINDOW + HOLD)


def test_after_a_quiet_window_nothing_is_held() -> None:
    moderation = busy()
    moderation.arrived(1, START + 2 * WINDOW)
    assert moderation.due(3, 1000, START + 2 * WINDOW)


def test_a_busy_time_long_ago_says_nothing_about_now() -> None:
    moderation = Moderation(HOLD, WORDS)
    moderation.arrived(100, START)
    moderation.sent(300)
    moderation.arrived(1, START + 3 * WINDOW)
    assert moderation.due(3, 1000, START + 3 * WINDOW)
