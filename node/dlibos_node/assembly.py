"""Builds the role of a tile from the mesh file: which parts it has, and who they talk to."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2

from dlibos_node import config, nics, rights
from dlibos_node.apps import registry
from dlibos_node.identity import Credentials
from dlibos_node.memory.descriptor import INDEX_MASK
from dlibos_node.memory.foreign import Foreign
from dlibos_node.memory.partition import Partition
from dlibos_node.nic.device import Device
from dlibos_node.nic.memory import MemoryDevice
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.roles.app import App
from dlibos_node.roles.app_events import AppEvents
from dlibos_node.roles.direct import APP, STACK, DirectEvents, DirectPort
from dlibos_node.roles.driver import Driver
from dlibos_node.roles.fused import Fused, Inbox, LocalPeers
from dlibos_node.roles.reception import Reception
from dlibos_node.roles.role import Clock
from dlibos_node.roles.rx import RxMemory
from dlibos_node.roles.stack import Stack
from dlibos_node.roles.steering import Steering
from dlibos_node.roles.tx import TxPort
from dlibos_node.sockets.buffers import AppMemory
from dlibos_node.sockets.layer import Sockets
from dlibos_node.stack.interface import Interface
from dlibos_node.tcp.config import TcpConfig


class Parts(NamedTuple):
    """What every role is built on.

    `peers` are the tiles it talks to, by role and number; `ports` the ports of each application tile, as they are now.
    """

    mesh: mesh_pb2.Mesh
    tile: mesh_pb2.Tile
    queues: Queues
    peers: Mapping[str, dict[int, Peer]]
    foreign: Foreign
    faults: Faults
    ports: Mapping[int, frozenset[int]]

    @property
    def protected(self) -> bool:
        """Whether the tile checks what it is told."""
        return rights.is_protected(self.mesh)


async def open_device(mesh: mesh_pb2.Mesh, tile: mesh_pb2.Tile, credentials: Credentials | None) -> Device:
    """Open a driver tile's queue of the network device; a passive one has no wire. DeviceError."""
    if tile.passive:
        return MemoryDevice(mesh.nic.mtu, lambda frame: None)
    drivers = [entry.tile for entry in mesh.tiles if entry.role in nics.OWNERS and not entry.passive]
    return await nics.open_device(mesh.nic, drivers.index(tile.tile), tile.tile, credentials)


def build_driver(
    parts: Parts, device: Device, own: Sequence[Partition], flush: Callable[[int], None], clock: Clock, *, hold: int
) -> Driver:
    """Build a driver role on its RX partitions, in the order of `rights.owned`; it holds frames up to `hold` us."""
    tunables, stacks = parts.mesh.tunables, list(parts.peers["stack"].values())
    memories = {partition.number & INDEX_MASK: RxMemory(partition) for partition in own}
    return Driver(
        device,
        Reception(memories, rights.ports(parts.mesh)),
        Steering(parts.mesh.owners),
        parts.queues,
        stacks,
        parts.foreign,
        parts.faults,
        clock,
        flush,
        hold=hold,
        words=tunables.moderation_words,
        ring_words=tunables.queue_words,
        protected=parts.protected,
    )


def build_stack(
    parts: Parts,
    own: Partition,
    flush: Callable[[], None],
    port: TxPort | None = None,
    events: AppEvents | None = None,
) -> Stack:
    """Build a stack role. Frames go to driver tiles and events to application tiles unless told otherwise."""
    mesh, nic = parts.mesh, parts.mesh.nic
    address = config.interface_address(nic.address, "nic.address")
    stacks = sum(entry.role == mesh_pb2.ROLE_STACK for entry in mesh.tiles)
    return Stack(
        Interface(config.mac_address(nic.mac, "nic.mac"), int(address.ip), nic.mtu),
        TcpConfig(mss=nic.mtu - 40),
        port or TxPort(own, share=0.5 / max(stacks, 1)),
        parts.queues,
        parts.peers["driver"],
        parts.peers["app"],
        parts.peers["stack"],
        parts.foreign,
        parts.ports,
        parts.faults,
        asyncio.get_running_loop(),
        flush,
        secret=secrets.token_bytes(32),
        backlog=mesh.tunables.backlog,
        protected=parts.protected,
        tile=parts.tile.tile,
        owners=b"" if mesh.protection == mesh_pb2.PROTECTION_FUSED else mesh.owners,
        first_handle=secrets.randbits(32),
        neighbour=config.mac_address(nic.peer_mac, "nic.peer_mac") if nic.peer_mac else bytes(6),
        events=events,
    )


def build_app(parts: Parts, own: Partition, flush: Callable[[], None]) -> tuple[App, registry.App]:
    """Build an application role and start its application."""
    kind = registry.find(parts.tile.app.kind)
    stacks = parts.peers["stack"]
    sockets = Sockets(AppMemory(own), stacks, parts.foreign, parts.faults, protected=parts.protected)
    app = App(sockets, parts.queues, stacks.values(), parts.faults, flush, protected=parts.protected)
    application = kind.start(parts.tile.app.root, Timers(app.flush))
    sockets.listen(parts.tile.app.port or kind.port, application.accept, application.retire)
    return app, application


def build_fused(parts: Parts, device: Device, own: Sequence[Partition]) -> tuple[Fused, registry.App]:
    """Build all three roles in one tile, tied together."""
    peers, loop = LocalPeers(), asyncio.get_running_loop()
    stack_inbox, app_inbox = Inbox(peers.app_to_stack), Inbox(peers.stack_to_app)
    foreign = Foreign()
    foreign.partitions.update((partition.number, partition) for partition in own)
    alone = parts._replace(foreign=foreign, peers={"driver": {}, "stack": {}, "app": {}})
    of_stack = alone._replace(queues=stack_inbox, peers={"driver": {}, "stack": {}, "app": {APP: peers.stack_to_app}})
    of_app = alone._replace(queues=app_inbox, peers={"stack": {STACK: peers.app_to_stack}})
    fused: Fused

    def run(_number: int = 0) -> None:
        fused.run()

    *received, headers, payload = own
    driver = build_driver(alone, device, received, run, loop, hold=0)
    app, application = build_app(of_app, payload, run)
    port = DirectPort(headers, device, driver.memory, payload, driver.drops)
    stack = build_stack(of_stack, headers, run, port, DirectEvents(port, app.sockets))
    fused = Fused(driver, stack, app, stack_inbox, app_inbox, parts.tile.tile, loop)
    fused.start(peers)
    return fused, application


class Timers:
    """`sockets.api.Timers` on the tile's loop: what a callback sends goes out when it returns."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._flush: Final = flush

    def time(self) -> float:
        """Monotonic seconds."""
        return self._loop.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back once."""
        return self._loop.call_later(delay, self._call, callback)

    def _call(self, callback: Callable[[], None]) -> None:
        callback()
        self._flush()
