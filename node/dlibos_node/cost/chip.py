"""Driver, stack and application tile in one process, built as the agent builds them; protection's parts apart.

Messages go from tile to tile as they do between processes, credits and the demux queues' checks included; only gRPC,
which would carry them, is left out.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2

from dlibos_node import assembly, config, rights
from dlibos_node.assembly import Parts
from dlibos_node.cost.device import Wire
from dlibos_node.memory.descriptor import APP_INDEX, TX_INDEX, partition_number
from dlibos_node.memory.foreign import Foreign
from dlibos_node.memory.partition import Partition
from dlibos_node.noc import message
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.roles.role import Role

MAC: Final = "02:d1:b0:00:00:02"
ADDRESS: Final = "10.77.0.2/24"
MTU: Final = 1500
DOMAIN: Final = 1
DRIVER, STACK, APP = range(3)
ROLES: Final = (mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP)
NAMES: Final = ("driver", "stack", "app")
OWNED: Final = (DOMAIN, TX_INDEX, APP_INDEX)
LINKS: Final = ((DRIVER, STACK), (STACK, APP))
READS: Final = ((STACK, APP), (DRIVER, APP), (DRIVER,))  # whose partitions a tile maps


class Switches(NamedTuple):
    """Which parts of protection are on. Checks need leases: a generation that nobody publishes is never current."""

    mapping: bool  # partitions are sealed, and readers map them read-only
    leases: bool  # the owner publishes generations, and releases are compared with what was lent to whom
    checks: bool  # what other tiles say is checked before it is followed


class Tile(NamedTuple):
    """One tile without a process of its own."""

    number: int
    queues: Queues
    peers: dict[int, Peer]
    foreign: Foreign
    faults: Faults
    own: Partition


class Chip:
    """Three tiles. Needs a running loop, whose clock the stack tile uses; timers fire only while the loop runs."""

    def __init__(self, switches: Switches, root: str) -> None:
        self.wire = Wire()
        self._mesh = _mesh(switches, root)
        self._ports = rights.ports_of_apps(self._mesh)
        self.tiles = [_tile(number, switches) for number in range(3)]
        self._attached = [partition for tile in self.tiles for partition in self._map(tile, switches)]
        for left, right in LINKS:
            self._link(left, right)
        self._driver = assembly.build_driver(
            self._parts(DRIVER), self.wire, [self.tiles[DRIVER].own], _nothing, asyncio.get_running_loop(), hold=0
        )
        self._stack = assembly.build_stack(self._parts(STACK), self.tiles[STACK].own, _nothing)
        self._app, self._application = assembly.build_app(self._parts(APP), self.tiles[APP].own, _nothing)
        self._roles: tuple[Role, ...] = (self._driver, self._stack, self._app)
        for tile in self.tiles:
            for peer in tile.peers.values():
                self._roles[tile.number].changed(peer)
        for role in self._roles:
            role.open()
        self.settle()

    def _parts(self, number: int) -> Parts:
        tile = self.tiles[number]
        peers: dict[str, dict[int, Peer]] = {name: {} for name in NAMES}
        for peer in tile.peers.values():
            peers[peer.role][peer.number] = peer
        return Parts(self._mesh, self._mesh.tiles[number], tile.queues, peers, tile.foreign, tile.faults, self._ports)

    def _map(self, tile: Tile, switches: Switches) -> list[Partition]:
        for number in READS[tile.number]:
            own = self.tiles[number].own
            mapped = Partition.attach(own.number, os.dup(own.fd), protected=switches.mapping)
            tile.foreign.partitions[own.number] = mapped
        return list(tile.foreign.partitions.values())

    def _link(self, left: int, right: int) -> None:
        words = self._mesh.tunables.queue_words
        for me, other in ((left, right), (right, left)):
            peer = self.tiles[me].peers[other] = Peer(me, other, capacity=words, hops=1, role=NAMES[other])
            peer.connected([words] * message.QUEUES)

    def run(self) -> None:
        """Let the driver read all that waits on the wire, and the tiles work until no message is left."""
        while self.wire.towards:
            self._driver.readable()
            self.settle()

    def settle(self) -> None:
        """Move messages until none waits."""
        moved = True
        while moved:
            moved = False
            for tile in self.tiles:
                for peer in tile.peers.values():
                    moved |= self._carry(tile, peer)

    def _carry(self, tile: Tile, peer: Peer) -> bool:
        """What a link does: words one way, credits the other."""
        words, target = peer.take(), self.tiles[peer.number]
        owed = peer.take_owed(anyway=bool(words))
        back = target.peers[tile.number]
        if owed:
            back.grant(owed)
        if not words:
            return False
        target.queues.accept(back, words)
        self._roles[target.number].drain()
        return True

    @property
    def refused(self) -> int:
        """Messages that some tile refused, at a link or for protection; a measurement with any is void."""
        return sum(tile.faults.total + tile.queues.refused.total() for tile in self.tiles)

    def close(self) -> None:
        """Give the memory back."""
        for partition in [*self._attached, *(tile.own for tile in self.tiles)]:
            partition.close()


class FusedChip:
    """The same roles in one tile, as in a fused mesh."""

    def __init__(self, root: str) -> None:
        self.wire = Wire()
        mesh = _mesh(Switches(False, False, False), root)
        mesh.protection = mesh_pb2.PROTECTION_FUSED
        del mesh.tiles[1:]
        mesh.tiles[0].role = mesh_pb2.ROLE_FUSED
        mesh.tiles[0].app.CopyFrom(mesh_pb2.App(kind="web", root=root))
        mesh.tiles[0].domain = DOMAIN
        self._own = [Partition.create(partition_number(0, index), protected=False) for index in OWNED]
        parts = Parts(mesh, mesh.tiles[0], Queues(), {}, Foreign(), Faults({}), {})
        self._fused, self._application = assembly.build_fused(parts, self.wire, self._own)
        self._fused.open()
        self.refused = 0

    def run(self) -> None:
        """Let the tile work until nothing waits on the wire."""
        while self.wire.towards:
            self._fused.readable()

    def close(self) -> None:
        """Give the memory back."""
        for partition in self._own:
            partition.close()


def _nothing(_number: int = 0) -> None:
    """What waits for a peer is carried when the role is done."""


def _tile(number: int, switches: Switches) -> Tile:
    peers: dict[int, Peer] = {}
    own = Partition.create(partition_number(number, OWNED[number]), protected=switches.mapping, leases=switches.leases)
    return Tile(number, Queues(), peers, Foreign(), Faults(peers), own)


def _mesh(switches: Switches, root: str) -> mesh_pb2.Mesh:
    """Return the mesh file the roles are built from; its mode switches the checks."""
    tiles = [mesh_pb2.Tile(tile=number, role=role) for number, role in enumerate(ROLES)]
    tiles[APP].domain = DOMAIN
    tiles[APP].app.CopyFrom(mesh_pb2.App(kind="web", root=root))
    mesh = mesh_pb2.Mesh(
        width=3,
        height=1,
        nic=mesh_pb2.Nic(mac=MAC, address=ADDRESS, mtu=MTU),
        tunables=mesh_pb2.Tunables(**{name: bounds.default_value for name, bounds in config.TUNABLES.items()}),
        tiles=tiles,
        protection=mesh_pb2.PROTECTION_PROTECTED if switches.checks else mesh_pb2.PROTECTION_UNPROTECTED,
        domains=[mesh_pb2.Domain(name="cost", ports=[80])],
    )
    mesh.owners = config.evenly(mesh)
    return mesh
