"""Driver, stack and application in one tile, run to completion: what Rusty, mTCP and F-Stack do. Nothing is distributed
and nothing protected. The roles' work is done by the same code; what would cross the NoC between driver and stack, and
from the stack to the application, is a call (`direct`). What the application sends is read where it was written.
"""

from __future__ import annotations

from typing import Final

from dlibos_node.memory.descriptor import LOW32
from dlibos_node.nic import virtio
from dlibos_node.noc import message
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Message, Queues
from dlibos_node.roles import driver as drivers
from dlibos_node.roles.app import App as AppRole
from dlibos_node.roles.direct import APP, STACK
from dlibos_node.roles.driver import Driver
from dlibos_node.roles.role import Clock
from dlibos_node.roles.rx import Received
from dlibos_node.roles.stack import Stack
from dlibos_node.stack.host import Frame

UNBOUNDED: Final = 1 << 40  # words: there is no queue to overflow


class LocalPeers:
    """How the stack and the application of one tile see each other: who writes to whom."""

    def __init__(self) -> None:
        self.stack_to_app = _peer(STACK, APP, "app")
        self.app_to_stack = _peer(APP, STACK, "stack")


def _peer(me: int, number: int, role: str) -> Peer:
    peer = Peer(me, number, capacity=UNBOUNDED, role=role)
    peer.connected([UNBOUNDED] * message.QUEUES)
    return peer


class Inbox(Queues):
    """Demux queues without a network: what the sender's peer holds for this role."""

    def __init__(self, sender: Peer) -> None:
        super().__init__()
        self._from = sender

    def drain(self, queue: int) -> list[Message]:
        """Take all messages of one queue."""
        taken: list[Message] = []
        words = self._from.waiting[queue]
        if words:
            _split(words, self._from.me, taken)
            del words[:]  # in place: the sender's role keeps the list
        return taken

    @property
    def waits(self) -> bool:
        """Whether a message waits."""
        return any(map(len, self._from.waiting))


def _split(words: list[int], source: int, taken: list[Message]) -> None:
    at, end = 0, len(words)
    while at < end:
        head = words[at]
        after = at + 1 + (head & message.LENGTH_MASK)
        taken.append((source, head >> message.TAG_SHIFT & 0xFFFF, words[at + 1 : after]))
        at = after


class Fused:
    """The three roles, and the inboxes of stack and application."""

    def __init__(
        self, driver: Driver, stack: Stack, app: AppRole, stack_inbox: Inbox, app_inbox: Inbox, tile: int, clock: Clock
    ) -> None:
        self.driver = driver
        self.stack = stack
        self.app = app
        self._stack_inbox = stack_inbox
        self._app_inbox = app_inbox
        self._tile = tile
        self._clock = clock
        self._running = False

    def start(self, peers: LocalPeers) -> None:
        """Make stack and application known to each other, as links do when they come up."""
        self.stack.changed(peers.stack_to_app)
        self.app.changed(peers.app_to_stack)
        self.run()

    def readable(self) -> None:
        """Frames wait at the device: read and handle up to BUDGET, each to its end, then what the application did."""
        read, receive = self.driver.memory.read, self.driver.device.receive
        now = int(self._clock.time() * 1e6)
        for _ in range(drivers.BUDGET):
            frame = read(receive)
            if frame is None:
                break
            self._take(frame, now)
        self.run()

    def _take(self, frame: Received, now: int) -> None:
        offset, length = frame.offset + virtio.HEADER_LENGTH, frame.length - virtio.HEADER_LENGTH
        if length < virtio.ETHERNET_LENGTH:
            frame.pool.put(frame.slot)
            self.driver.drops[drivers.Drop.RUNT] += 1
            return
        verified = bool(frame.view[frame.offset])  # NEEDS_CSUM or DATA_VALID
        lease = frame.pool.lease(frame.slot) | offset & LOW32
        self.stack.host.receive(Frame(frame.view, offset, length, lease, verified, True, self._tile), now)

    def run(self) -> None:
        """Let application and stack work until neither has anything from the other."""
        if self._running:
            return  # called by a role that runs: the loop below comes round to what it wrote
        self._running = True
        try:
            moved = True
            while moved:
                self.app.drain()
                self.stack.drain()
                moved = self._stack_inbox.waits or self._app_inbox.waits
        finally:
            self._running = False

    def open(self) -> None:
        """Let frames come."""
        self.app.open()
        self.driver.open()
        self.run()

    def drain(self) -> None:
        """No message comes from outside."""

    def changed(self, peer: Peer) -> None:
        """There are no links."""

    def admit(self, peer: Peer) -> None:
        """There is nobody to talk to."""

    def dismiss(self, peer: Peer) -> None:
        """There is nobody to talk to."""

    def assign(self, owners: bytes) -> None:
        """There is one stack."""

    def retire(self) -> None:
        """A fused mesh does not change."""

    @property
    def retired(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Give the device up."""
        self.driver.close()
