"""Adaptive interrupt moderation, as network cards do it, for the frames a driver hands to one stack tile.

A message alone costs the NoC's transport about a hundred times what it costs in a batch (DESIGN section 8). So under
load received frames are held until enough words have gathered or the oldest has waited `hold` microseconds. Where
little arrives, waiting gathers nothing and only adds latency: after a window with fewer than BUSY frames none is held.
"""

from __future__ import annotations

from typing import Final

BUSY: Final = 4  # frames in one window that make holding worth while


class Moderation:
    """The decision for one stack tile. Times are microseconds."""

    __slots__ = ("_frames", "_opened", "hold", "holding", "words")

    def __init__(self, hold: int, words: int) -> None:
        self.hold = hold
        self.words = words
        self.holding = False
        self._opened = 0
        self._frames = 0

    def arrived(self, frames: int, waiting_words: int, now: int) -> bool:
        """Note new frames; True: send what waits now, False: it may be held."""
        age = now - self._opened
        if age >= self.hold:
            # A window that was followed by an empty one says nothing about now.
            self.holding = self._frames >= BUSY and age < 2 * self.hold + self.hold
            self._opened, self._frames = now, 0
        self._frames += frames
        return not self.holding or waiting_words >= self.words
