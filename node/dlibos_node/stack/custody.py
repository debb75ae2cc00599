"""Frames of flows that this host does not know, in buckets that it does not hold: kept until one of them comes.

While a bucket moves, driver tiles send its frames to the new host before the flows are there. A frame waits until its
flow is installed, or its bucket comes (then it belongs to no connection and is answered), or it has waited too long.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from dlibos_node.stack.buckets import LEAVING, Buckets
from dlibos_node.stack.ports import Drop, Port
from dlibos_node.tcp.timers import NEVER

if TYPE_CHECKING:
    from dlibos_node.stack.host import Frame

MOST: Final = 1024  # frames kept; a peer sends again what is dropped
# Microseconds. A bucket that is to come takes as long as its flows need; of one that is not, the news may still be on
# its way: a driver tile may know the new table before this host does.
PATIENCE: Final = 3_000_000
DOUBT: Final = 100_000


class Custody:
    """The frames, by key of the flow. `wrong` collects (driver tile, bucket) of frames that should not have come."""

    __slots__ = ("_buckets", "_count", "_drops", "_frames", "_port", "wrong")

    def __init__(self, buckets: Buckets, port: Port, drops: Counter[Drop]) -> None:
        self.wrong: set[tuple[int, int]] = set()
        self._buckets = buckets
        self._port = port
        self._drops = drops
        self._frames: dict[int, list[tuple[int, Frame]]] = {}  # (when it may be dropped, frame); by first arrival
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def keep(self, key: int, frame: Frame, now: int) -> None:
        """Keep a frame, or drop and count it."""
        bucket = self._buckets.of(key)
        if self._buckets.state(bucket) == LEAVING:
            self.wrong.add((frame.route, bucket))
            self._drop(frame, Drop.MOVED_AWAY)
        elif self._count >= MOST or self._port.short(frame.lease):
            self._drop(frame, Drop.KEPT_FULL)
        else:
            frame.view = memoryview(frame.view)  # one of our own: the driver tile's memory may be unmapped meanwhile
            patience = PATIENCE if self._buckets.elsewhere(bucket) is None else DOUBT
            self._frames.setdefault(key, []).append((now + patience, frame))
            self._count += 1

    def take(self, key: int) -> list[Frame]:
        """Return the frames of a flow, in order; they are the caller's now."""
        kept = self._frames.pop(key, ())
        self._count -= len(kept)
        return [frame for _, frame in kept]

    def come(self) -> list[Frame]:
        """Return the frames of all buckets that this host answers for now."""
        keys = [key for key in self._frames if self._buckets.answers(key)]
        return [frame for key in keys for frame in self.take(key)]

    def forget(self, route: int) -> None:
        """A driver tile is gone, and its buffers with it."""
        for key, frames in list(self._frames.items()):
            left = [(until, frame) for until, frame in frames if frame.route != route]
            self._count -= len(frames) - len(left)
            self._frames[key] = left
            if not left:
                del self._frames[key]

    @property
    def deadline(self) -> int:
        """When `expire` has something to do, about; NEVER if nothing is kept."""
        return min((frames[0][0] for frames in self._frames.values()), default=NEVER)

    def expire(self, now: int) -> None:
        """Drop what has waited too long."""
        for key, frames in list(self._frames.items()):
            late = [frame for until, frame in frames if until <= now]
            if not late:
                continue
            bucket = self._buckets.of(key)
            if self._buckets.elsewhere(bucket) is not None:
                self.wrong.update((frame.route, bucket) for frame in late)
            self._count -= len(late)
            self._frames[key] = frames[len(late) :]
            if not self._frames[key]:
                del self._frames[key]
            for frame in late:
                self._drop(frame, Drop.KEPT_LONG)

    def _drop(self, frame: Frame, reason: Drop) -> None:
        self._drops[reason] += 1
        self._port.release(frame.lease)
