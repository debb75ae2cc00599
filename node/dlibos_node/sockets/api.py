"""The asynchronous socket interface as an application sees it: callbacks in, commands out, completions for both.

The calls follow IX (Belay et al., OSDI 2014): connected, received, sent, dead; send, received_done, close. Nothing
blocks. An application that runs on these two protocols runs on a mesh, and in a test on plain objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Handler(Protocol):
    """The application's side of one connection."""

    def received(self, data: memoryview) -> None:
        """Bytes arrived, in order.

        `data` lies in the RX partition and is valid only during the call: copy what must outlive it. The bytes count
        as consumed when the call returns, so the peer's window opens again; to slow the peer down, `pause`.
        """

    def sent(self) -> None:
        """The peer acknowledged bytes sent earlier: `Connection.unacknowledged` fell, buffers are free again."""

    def eof(self) -> None:
        """The peer will send no more (FIN). Sending is still possible."""

    def closed(self, reset: bool) -> None:
        """The connection is gone: in order, or by a reset or time-out. No call follows. Called exactly once."""


class Connection(Protocol):
    """The mesh's side of one connection."""

    peer: tuple[str, int]
    """Address and port of the client."""

    @property
    def unacknowledged(self) -> int:
        """Bytes given to `send` or `commit` that the peer has not acknowledged."""

    def send(self, data: bytes | bytearray | memoryview) -> bool:
        """Copy `data` into this tile's APP partition and send it.

        False, and nothing is sent, when the partition has no room or this connection has its share of it: stop, and go
        on in its next `Handler.sent`. That comes when the peer acknowledges; while nothing is under way, when there is
        room and the connections that were refused before have had their turn.
        """

    def allocate(self, size: int) -> memoryview | None:
        """Reserve one APP buffer of at most `size` bytes (at most 64 KiB; the view's length says how much was given).

        For sending without a copy: fill the front, then `commit`. None where `send` would say False.
        One reservation at a time per connection; a second call before `commit` returns the same buffer.
        """

    def commit(self, length: int) -> None:
        """Send the first `length` bytes of the reserved buffer; 0 gives it back. It must not be written after this."""

    def pause(self) -> None:
        """Deliver no more `received` until `resume`; the peer's window closes by itself."""

    def resume(self) -> None:
        """Deliver again, first what waited."""

    def close(self) -> None:
        """Send FIN after what was given to `send`. Bytes that still arrive are delivered until the peer closes."""

    def hand_over(self, kept: Callable[[bool], None]) -> None:
        """Let another application tile of this port have the connection, as soon as the peer has acknowledged all.

        For a tile that is to end, between two requests: send nothing from here on, nothing is received meanwhile.
        `Handler.closed(reset=False)` follows when another tile has it, where `Accept` is called and every byte that
        was not received here arrives; or else `kept(alone)`, and all goes on here as before. `alone`: no other tile
        serves the port; if not, the connection is about to end. Asking again before the answer is nothing.
        """

    def abort(self) -> None:
        """Send RST now; unsent bytes are dropped. `Handler.closed(reset=True)` follows."""


Accept = Callable[[Connection], Handler]
"""Called for every new connection; the answer is its handler."""


class Timers(Protocol):
    """What an application may ask of the tile's clock."""

    def time(self) -> float:
        """Seconds of a monotonic clock."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Cancellable:
        """Call back once after `delay` seconds."""


class Cancellable(Protocol):
    """A timer that was set."""

    def cancel(self) -> None:
        """Do not call back any more."""
