"""Adaptive interrupt moderation, as network cards do it, for the frames a driver hands to one stack tile.

A message alone costs the NoC's transport about a hundred times what it costs in a batch (DESIGN section 8), so under
load received frames gather while the stack tile has two batches to work on: one that it is busy with and one that waits
behind it. More would only make batches smaller. `hold` bounds the wait of the oldest frame, whatever the stack does.

Where little arrives, waiting gathers nothing and only adds latency: after a window with fewer than BUSY frames none is
held.
"""

from __future__ import annotations

from typing import Final

WINDOW: Final = 1000  # microseconds
BUSY: Final = 4  # frames in one window that make holding worth while


class Moderation:
    """The decision for one stack tile. Times are microseconds; `words` is the size of a batch that never waits."""

    __slots__ = ("_batch", "_frames", "_held_since", "_opened", "hold", "holding", "words")

    def __init__(self, hold: int, words: int) -> None:
        self.hold = hold
        self.words = words
        self.holding = False
        self._opened = 0  # when the current window began
        self._frames = 0  # frames in it
        self._held_since = 0  # when the oldest frame that is held arrived, 0: none is
        self._batch = 0  # words in the batch sent last

    def arrived(self, frames: int, now: int) -> None:
        """Note new frames."""
        age = now - self._opened
        if age >= WINDOW:
            # A window that was followed by empty ones says nothing about now.
            self.holding = self._frames >= BUSY and age < 3 * WINDOW
            self._opened, self._frames = now, 0
        self._frames += frames
        if not self._held_since:
            self._held_since = now

    def due(self, waiting: int, outstanding: int, now: int) -> bool:
        """Whether to send the `waiting` words now, with `outstanding` words sent that the stack has not taken."""
        return waiting > 0 and (
            not self.holding
            or outstanding <= self._batch  # at most the last batch: the stack is about to run dry
            or waiting >= self.words
            or now - self._held_since >= self.hold
        )

    def sent(self, words: int) -> None:
        """All that waited, `words` words, goes out."""
        self._held_since = 0
        self._batch = words
