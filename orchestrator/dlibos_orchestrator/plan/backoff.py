"""How soon a tile that fails again and again is started again."""

from __future__ import annotations

from typing import Final, NamedTuple

FIRST: Final = 0.5  # seconds before the third start; the second comes at once
LONGEST: Final = 30.0
STEADY: Final = 10.0  # seconds ready after which a tile's failures are forgotten


class Failure(NamedTuple):
    """How often a tile's process has ended unasked without having been steady in between, and when it last did."""

    times: int = 0
    last: float = 0.0  # monotonic seconds


def failed(before: Failure | None, now: float, steady: float = 0.0) -> Failure:
    """Return what follows from an end; `steady`: seconds for which the process had been ready."""
    times = 0 if before is None or steady >= STEADY else before.times
    return Failure(times + 1, now)


def due(failure: Failure | None) -> float:
    """Return when the tile may be started again, monotonic seconds."""
    if failure is None or failure.times <= 1:
        return 0.0
    return failure.last + min(LONGEST, FIRST * 2.0 ** min(failure.times - 2, 16))
