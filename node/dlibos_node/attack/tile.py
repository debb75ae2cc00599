"""A compromised tile: an agent that does its role's work, hears what it is told, and attacks when ordered to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_node import config
from dlibos_node.agent import Agent
from dlibos_node.attack import control
from dlibos_node.attack.answer import Answer, Order
from dlibos_node.errors import ConfigurationError
from dlibos_node.identity import Credentials
from dlibos_node.memory.partition import Partition
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.roles.role import Role

PATIENCE: Final = 3.0  # seconds for a link to go or to come
POLL: Final = 0.002


class CompromisedTile(Agent):
    """One tile of the mesh, in the attacker's hands. All it adds to an honest tile is the control socket."""

    def __init__(self, directory: Path, tile: int, credentials: Credentials | None = None) -> None:
        super().__init__(directory, tile, credentials)
        self.own: list[Partition] = []
        self.heard: dict[tuple[int, int], list[int]] = {}  # the last message by source and tag
        self.kept: list[Callable[[], object]] = []  # what gives back what was hoarded
        self.deaf = False  # whether credits are kept back, as if nothing were ever taken from the queues
        self.losses: Counter[int] = Counter()  # times a link was lost, by tile
        self._turn = asyncio.Event()  # a link changed

    async def run(self) -> None:
        """Take orders and work until SIGTERM."""
        server = await control.listen(self._directory / "attack" / f"{self.tile.tile}.sock", self._perform)
        try:
            await super().run()
        finally:
            server.close()

    def _perform(self, name: str, order: Order) -> Answer | Awaitable[Answer]:
        # Here, as the suite is made of functions that take a tile.
        from dlibos_node.attack import suite  # noqa: PLC0415

        return suite.of_role(self._role_name)[name](self, order)

    def _own_partitions(self) -> list[Partition]:
        self.own = super()._own_partitions()
        return self.own

    def _deliver(self) -> None:
        for waiting in self._queues._messages:
            for source, tag, payload in waiting:
                self.heard[source, tag] = payload
        super()._deliver()
        if self.deaf:
            for peer in self._network.peers.values():
                peer.owed = [0] * len(peer.owed)

    def _changed(self, peer: Peer) -> None:
        self.losses[peer.number] += not peer.up
        self._turn.set()
        super()._changed(peer)

    # --- what attacks are made of -------------------------------------------------------------------------------

    @property
    def credentials(self) -> Credentials | None:
        """The keys this tile was given."""
        return self._credentials

    @property
    def role(self) -> Role:
        """The role, which goes on working. LookupError before it has one."""
        if self._role is None:
            raise LookupError("the tile has no role yet")
        return self._role

    @property
    def mapped(self) -> dict[int, Partition]:
        """The partitions of others that this tile maps, by number."""
        return self._foreign.partitions

    def victim(self, role: str) -> mesh_pb2.Tile:
        """Return the honest tile of a role; of application tiles, the one of another domain."""
        for entry in self.mesh.tiles:
            named = config.ROLES[entry.role] == role and entry.tile != self.tile.tile
            if named and not entry.passive and (role != "app" or entry.domain != self.tile.domain):
                return entry
        raise ConfigurationError(f"the mesh has no other {role} tile to attack: bring it up by `dlibos attack`")

    def link(self, tile: int) -> Peer:
        """Return the link to a tile."""
        return self._network.peers[tile]

    def send(self, victim: int, tag: int, *words: int, queue: int = tags.COMMANDS) -> None:
        """Send a message by the tile's own link."""
        self.link(victim).post(queue, tag, *words)

    def send_words(self, victim: int, queue: int, words: list[int]) -> None:
        """Send words that need not be a message."""
        self.link(victim).waiting[queue] += words

    async def flush(self, victim: int) -> None:
        """Return when all that waits for a tile was given to the transport, or the link is gone."""
        peer = self.link(victim)
        self._network.flush()
        async with asyncio.timeout(PATIENCE):
            while peer.up and any(peer.waiting):  # noqa: ASYNC110 - the link tells nobody when it has taken all
                await asyncio.sleep(POLL)

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Wait for what links are to come to; tell whether they did."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._turn.clear()
                    await self._turn.wait()
        except TimeoutError:
            return False
        return True

    async def linked(self) -> bool:
        """Wait for all links to be up; tell whether they came to be."""
        return await self.until(lambda: all(peer.up for peer in self._network.peers.values()))

    async def mapped_anew(self, owner: int) -> None:
        """Return when the memory of a tile that this one reads is mapped, after what may have unmapped it."""
        for _ in range(3):  # the end of the old connection is read, the mapping goes, another is asked for
            await asyncio.sleep(POLL)
        async with asyncio.timeout(PATIENCE):
            await self._foreign.ready(owner)
