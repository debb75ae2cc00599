"""A connection and timers on plain objects: what a handler does to them is what the tests look at."""

from __future__ import annotations

from collections.abc import Callable

from dlibos_node.sockets.api import Cancellable, Handler


class FakeConnection:
    """Keeps what was sent. `room` bytes may be sent before `send` and `allocate` refuse; `acknowledge` makes room."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.peer = ("192.0.2.1", 4000)
        self.sent = bytearray()
        self.sends = 0
        self.unacknowledged = 0
        self.highest = 0
        self.room = room
        self.paused = self.closing = self.aborted = False
        self.kept: Callable[[bool], None] | None = None
        """Set: it was asked to be handed over; what is called if it is not."""
        self.handler: Handler | None = None
        """Set: who gets what `deliver` kept while paused, within `resume`."""
        self._reserved: bytearray | None = None
        self._waiting: list[bytes] = []

    def send(self, data: bytes | bytearray | memoryview) -> bool:
        assert not self.closing
        assert not self.aborted
        assert 0 < len(data) <= 65536
        if len(data) > self.room:
            return False
        self._take(data)
        return True

    def allocate(self, size: int) -> memoryview | None:
        assert not self.closing
        assert 0 < size <= 65536
        if self._reserved is None:
            if self.room <= 0:
                return None
            self._reserved = bytearray(min(size, self.room))
        return memoryview(self._reserved)

    def commit(self, length: int) -> None:
        assert self._reserved is not None
        if length:
            self._take(self._reserved[:length])
        self._reserved = None

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        while self._waiting and not self.paused and self.handler is not None:
            self.handler.received(memoryview(self._waiting.pop(0)))

    def deliver(self, data: bytes) -> None:
        """Let data arrive; while paused it waits."""
        self._waiting.append(data)
        if not self.paused:
            self.resume()

    def close(self) -> None:
        assert not self.closing
        self.closing = True

    def hand_over(self, kept: Callable[[bool], None]) -> None:
        self.kept = kept

    def abort(self) -> None:
        self.aborted = True

    def acknowledge(self, count: int, handler: Handler) -> None:
        """Let the peer acknowledge `count` bytes, or what there is."""
        count = min(count, self.unacknowledged)
        self.unacknowledged -= count
        self.room += count
        handler.sent()

    def _take(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data
        self.sends += 1
        self.room -= len(data)
        self.unacknowledged += len(data)
        self.highest = max(self.highest, self.unacknowledged)


class FakeTimers:
    """Time moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Cancellable:
        entry = (self.now + delay, callback)
        self.waiting.append(entry)
        return FakeTimer(self, entry)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [entry for entry in self.waiting if entry[0] <= end]:
            entry = min(due, key=lambda waiting: waiting[0])
            self.waiting.remove(entry)
            self.now = entry[0]
            entry[1]()
        self.now = end


class FakeTimer:
    """A timer that was set."""

    def __init__(self, timers: FakeTimers, entry: tuple[float, Callable[[], None]]) -> None:
        self._timers = timers
        self._entry = entry

    def cancel(self) -> None:
        if self._entry in self._timers.waiting:
            self._timers.waiting.remove(self._entry)
