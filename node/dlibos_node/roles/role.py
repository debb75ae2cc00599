"""What every role offers the tile that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dlibos_node.noc.peer import Peer


class Role(Protocol):
    """A role: called for each frame and each change of a link; it leaves its answers in the peers' waiting queues."""

    def drain(self) -> None:
        """Take what waits in the demux queues and act on it."""

    def changed(self, peer: Peer) -> None:
        """A link came up (`peer.up`) or went."""

    def close(self) -> None:
        """Stop: give devices and buffers back."""


class Clock(Protocol):
    """The tile's clock and timer, as asyncio's loop offers them; seconds."""

    def time(self) -> float:
        """Return monotonic seconds."""

    def call_at(self, when: float, callback: Callable[[], None]) -> object:
        """Call back at a time."""
