"""A world whose buckets move, and whose links deliver one frame at a time in any order."""

from __future__ import annotations

import random
from typing import Any

from dlibos_node.nic import virtio
from dlibos_node.roles.stack import Stack
from dlibos_node.sockets.api import Accept
from tests.support.world import Visitor, World


class MovingWorld(World):
    """With `roll`, each link carries what waits when its turn comes, in an order drawn from it."""

    def __init__(self, accept: Accept, *, roll: random.Random | None = None, **chip: Any) -> None:
        self.roll = roll
        self.dead: set[int] = set()
        self.lazy = False  # nothing settles: traffic and moves overtake each other
        super().__init__(accept, **chip)
        self.numbers = [tile.number for tile in self.chip.kinds[1]]

    def run(self) -> None:
        """Exchange frames until both sides are quiet; when lazy, only some of them."""
        if not self.lazy or self.roll is None:
            super().run()
            return
        for _ in range(3):
            for driver in self.chip.drivers:
                driver.readable()
            self.steps(self.roll.randrange(12))
            frames = self.chip.transmitted()
            count = self.roll.randint(0, len(frames))
            self.chip.sent[:0] = frames[count:]
            for frame in frames[:count]:
                if not self.lose(frame):
                    self.client.on_frame(frame, self.now)

    def assign(self, owners: bytes, *, wait: bool = True) -> None:
        """Give every tile a new bucket table; not all of them hear of it at once."""
        tiles = [tile for tile in self.chip.tiles if tile.number not in self.dead]
        if self.roll is not None:
            self.roll.shuffle(tiles)
        self.chip.owners = owners
        for tile in tiles:
            assert tile.role is not None
            tile.role.assign(owners)
            if not wait:
                self.steps(3)
        if wait:
            self.run()

    def steps(self, count: int) -> None:
        """Let `count` links, drawn one after the other, carry what waits; frames for clients stay on the wire."""
        if self.roll is None:
            return
        links = [(tile, peer) for tile in self.chip.tiles for peer in tile.peers.values() if peer.up]
        for _ in range(count):
            waiting = [link for link in links if any(link[1].waiting)]
            if not waiting:
                return
            self.chip._carry(*self.roll.choice(waiting))

    def settle_application(self) -> None:
        """Send what the test made applications do."""
        for app in self.chip.apps:
            app.flush()
        self.run()

    def half_open(self) -> Visitor:
        """Begin to connect, and lose the answer."""
        self.lose = self._from_mesh
        visitor = self.connect()
        self.lose = lambda _frame: False
        return visitor

    def _from_mesh(self, frame: bytes) -> bool:
        return frame[virtio.HEADER_LENGTH + 6 : virtio.HEADER_LENGTH + 12] == self.chip.stacks[0].host.interface.mac

    def server_of(self, visitor: Visitor) -> int:
        """The stack tile that has a client's connection."""
        assert visitor.flow is not None
        for number, stack in zip(self.numbers, self.chip.stacks, strict=True):
            for flow in stack.host.flows:
                if flow.header.peer_port == visitor.flow.header.local_port:
                    return number
        raise AssertionError("nobody has the connection")

    def kill(self, number: int) -> None:
        """A tile dies."""
        self.dead.add(number)
        tile = self.chip.tiles[number]
        for other in self.chip.tiles:
            peer = other.peers.get(number)
            if peer is not None and other.role is not None:
                tile.peers[other.number].lost()
                peer.lost()
                other.role.changed(peer)
                self.steps(5)

    def one_holder(self, *, everything: bool = False) -> None:
        """Assert that no bucket has two holders; with `everything`, that each has one, the one it is to have."""
        for bucket in range(len(self.chip.owners)):
            holders = [number for number, stack in self._alive() if stack.held[bucket // 8] >> bucket % 8 & 1]
            assert len(holders) <= 1
            if everything:
                assert holders == [self.chip.owners[bucket]]

    def _alive(self) -> list[tuple[int, Stack]]:
        pairs = zip(self.numbers, self.chip.stacks, strict=True)
        return [(number, stack) for number, stack in pairs if number not in self.dead]
