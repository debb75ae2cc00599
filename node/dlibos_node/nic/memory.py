"""The mesh's end of a wire inside the process: frames in a queue, an eventfd that says when there are some."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from dlibos_node.nic.device import DeviceStatistics, Drop
from dlibos_node.nic.virtio import HEADER_LENGTH
from dlibos_node.wire.buffer import Buffer

_CAPACITY: Final = 4096  # frames towards the mesh; TCP windows keep far below it


class Private:
    """The part of a device whose wire no other driver tile shares: whoever holds its other end decides what comes."""

    __slots__ = ()

    def attach(self) -> None:
        """See Device."""

    def quiesce(self) -> None:
        """See Device."""

    @property
    def idle(self) -> bool:
        """Always: the other end knows what it does."""
        return True

    def detach(self) -> None:
        """See Device."""


class MemoryDevice(Private):
    """A `Device` whose other end is in the same process.

    A transmitted frame goes, as one bytes object, to `take` during the call; `deliver` queues a frame towards the mesh.
    """

    __slots__ = ("_event", "_frames", "_signalled", "_take", "mtu", "offloads", "statistics")

    def __init__(self, mtu: int, take: Callable[[bytes], object], offloads: tuple[str, ...] = ("csum", "tso4")) -> None:
        self.mtu = mtu
        self.offloads = offloads
        self.statistics = DeviceStatistics()
        self._take: Final = take
        self._frames: Final[deque[Sequence[Buffer]]] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._signalled = False

    def fileno(self) -> int:
        """Return the eventfd."""
        return self._event

    def deliver(self, parts: Sequence[Buffer]) -> bool:
        """Queue one frame for the mesh, by reference: the parts must not change. False: no room, counted as a drop."""
        if self._event < 0:
            self.statistics.drops[Drop.GONE] += 1
            return False
        if len(self._frames) >= _CAPACITY:
            self.statistics.drops[Drop.FULL] += 1
            return False
        self._frames.append(parts)
        if not self._signalled:
            self._signalled = True
            os.eventfd_write(self._event, 1)
        return True

    def receive(self, buffers: Sequence[memoryview]) -> int:
        """Take the oldest frame (see Device)."""
        if not self._frames:
            return 0
        count = scatter(self._frames.popleft(), buffers)
        if not self._frames:
            self._signalled = False
            os.eventfd_read(self._event)
        statistics = self.statistics
        statistics.rx_frames += 1
        statistics.rx_bytes += count - HEADER_LENGTH
        return count

    def transmit(self, parts: Sequence[Buffer]) -> bool:
        """Hand a copy of the frame to the other end (see Device)."""
        statistics = self.statistics
        if self._event < 0:
            statistics.drops[Drop.GONE] += 1
            return False
        frame = b"".join(parts)
        if len(frame) <= HEADER_LENGTH:
            statistics.drops[Drop.REFUSED] += 1
            return False
        statistics.tx_frames += 1
        statistics.tx_bytes += len(frame) - HEADER_LENGTH
        self._take(frame)
        return True

    def close(self) -> None:
        """Drop what is queued; both directions are dead."""
        event, self._event = self._event, -1
        self._frames.clear()
        if event >= 0:
            os.close(event)


def scatter(parts: Iterable[Buffer], buffers: Iterable[memoryview]) -> int:
    """Copy `parts`, one after the other, into `buffers`; return the bytes stored, fewer when the buffers are full."""
    stored = 0
    targets = iter(buffers)
    room = memoryview(b"")
    for part in parts:
        rest = memoryview(part)
        while rest:
            if not room:
                following = next(targets, None)
                if following is None:
                    return stored
                room = following
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            room, rest = room[count:], rest[count:]
            stored += count
    return stored
