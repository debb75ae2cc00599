"""Driver, stack and application in one tile, run to completion: what Rusty, mTCP and F-Stack do. Nothing is distributed
and nothing protected. The roles are the same; their messages are read where they were written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dlibos_node.noc import message
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Message, Queues
from dlibos_node.roles.app import App as AppRole
from dlibos_node.roles.driver import Driver
from dlibos_node.roles.role import Clock
from dlibos_node.roles.stack import Stack

UNBOUNDED: Final = 1 << 40  # words: there is no queue to overflow
# The roles' numbers among themselves; the driver has the tile's own, as its partitions have.
STACK: Final = message.MAX_TILE
APP: Final = message.MAX_TILE - 1


class LocalPeers:
    """How the roles of one tile see each other: who writes to whom."""

    def __init__(self, tile: int) -> None:
        self.driver_to_stack = _peer(tile, STACK, "stack")
        self.stack_to_driver = _peer(STACK, tile, "driver")
        self.stack_to_app = _peer(STACK, APP, "app")
        self.app_to_stack = _peer(APP, STACK, "stack")


def _peer(me: int, number: int, role: str) -> Peer:
    peer = Peer(me, number, capacity=UNBOUNDED, role=role)
    peer.connected([UNBOUNDED] * message.QUEUES)
    return peer


class Inbox(Queues):
    """Demux queues without a network: what the senders' peers hold for this role."""

    def __init__(self, *senders: Peer) -> None:
        super().__init__()
        self._from = list(senders)

    def drain(self, queue: int) -> list[Message]:
        """Take all messages of one queue."""
        taken: list[Message] = []
        for peer in self._from:
            words = peer.waiting[queue]
            if words:
                _split(words, peer.me, taken)
                del words[:]  # in place: the sender's role keeps the list
        return taken

    @property
    def waits(self) -> bool:
        """Whether a message waits."""
        for peer in self._from:
            for queue in peer.waiting:
                if queue:
                    return True
        return False


def _split(words: list[int], source: int, taken: list[Message]) -> None:
    at, end = 0, len(words)
    while at < end:
        head = words[at]
        after = at + 1 + (head & message.LENGTH_MASK)
        taken.append((source, head >> message.TAG_SHIFT & 0xFFFF, words[at + 1 : after]))
        at = after


class NoTimers:
    """The clock of a driver that never holds anything: whoever calls it passes its messages on at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def time(self) -> float:
        """Monotonic seconds."""
        return self._clock.time()

    def call_at(self, when: float, callback: Callable[[], None]) -> object:
        """Do nothing."""
        del when, callback
        return None


class Fused:
    """The three roles and the inboxes they were built on."""

    def __init__(
        self, driver: Driver, stack: Stack, app: AppRole, driver_inbox: Inbox, stack_inbox: Inbox, app_inbox: Inbox
    ) -> None:
        self.driver = driver
        self.stack = stack
        self.app = app
        self._running = False
        self._steps: list[tuple[Inbox, Callable[[], None]]] = [
            (stack_inbox, stack.drain), (app_inbox, app.drain), (driver_inbox, driver.drain),
        ]  # fmt: skip

    def start(self, peers: LocalPeers) -> None:
        """Make the roles known to each other, as links do when they come up."""
        self.driver.changed(peers.driver_to_stack)
        self.stack.changed(peers.stack_to_driver)
        self.stack.changed(peers.stack_to_app)
        self.app.changed(peers.app_to_stack)
        self.run()

    def readable(self) -> None:
        """Frames wait at the device."""
        self.driver.readable()
        self.run()

    def run(self) -> None:
        """Let the roles work until none has a message."""
        if self._running:
            return  # called by a role that runs: the loop below comes round to what it wrote
        self._running = True
        try:
            moved = True
            while moved:
                moved = False
                for inbox, drain in self._steps:
                    if inbox.waits:
                        moved = True
                        drain()
        finally:
            self._running = False

    def drain(self) -> None:
        """No message comes from outside."""

    def changed(self, peer: Peer) -> None:
        """There are no links."""

    def close(self) -> None:
        """Give the device up."""
        self.driver.close()
