"""A bound on what those cost who have not proved yet who they are: how many at once, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

UNPROVED: Final = 64  # at once; tiles that join need a few milliseconds each
PATIENCE: Final = 5.0  # seconds from the first byte to the proof

T = TypeVar("T")


class Admission:
    """Runs handshakes. When there are too many, the oldest is ended: an honest one is over long before its turn."""

    __slots__ = ("_running", "most", "patience")

    def __init__(self, most: int = UNPROVED, patience: float = PATIENCE) -> None:
        self.most = most
        self.patience = patience  # seconds
        self._running: dict[asyncio.Task[Any], None] = {}

    async def run(self, handshake: Coroutine[Any, Any, T], slow: T, crowded: T) -> T:
        """Return what the handshake came to, `slow` if it took too long, `crowded` if it made room for others."""
        self._make_room()
        task = asyncio.create_task(handshake)
        self._running[task] = None
        try:
            done, _ = await asyncio.wait((task,), timeout=self.patience)
            if not done:
                return slow
            return crowded if task.cancelled() else task.result()
        finally:
            self._running.pop(task, None)
            task.cancel()

    def _make_room(self) -> None:
        while len(self._running) >= self.most:
            oldest = next(iter(self._running))
            del self._running[oldest]
            oldest.cancel()
