"""What every role offers the tile that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dlibos_node.noc.peer import Peer


class Role(Protocol):
    """A role: called for each frame and each change of a link; it leaves its answers in the peers' waiting queues."""

    def open(self) -> None:
        """Begin to take traffic: all tiles that read this one's memory have mapped it. Called once."""

    def drain(self) -> None:
        """Take what waits in the demux queues and act on it."""

    def changed(self, peer: Peer) -> None:
        """A link came up (`peer.up`) or went."""

    def admit(self, peer: Peer) -> None:
        """A tile has joined the mesh that this role talks to; `changed` follows when its link is up."""

    def dismiss(self, peer: Peer) -> None:
        """It has left the mesh; its link is down, as `changed` has said."""

    def assign(self, owners: bytes) -> None:
        """The bucket table is to become `owners`: byte b is the stack tile that is to own bucket b."""

    def retire(self) -> None:
        """Take nothing new; finish or hand over what there is. Again: nothing."""

    @property
    def retired(self) -> bool:
        """Whether the tile was told to retire and nothing is left: its process may end."""

    def close(self) -> None:
        """Stop: give devices and buffers back."""


class Clock(Protocol):
    """The tile's clock and timer, as asyncio's loop offers them; seconds."""

    def time(self) -> float:
        """Return monotonic seconds."""

    def call_at(self, when: float, callback: Callable[[], None]) -> object:
        """Call back at a time."""
