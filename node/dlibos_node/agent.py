"""The tile's agent: reads what the tile is to be, builds its role, joins it to the mesh, and says how that went."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_node import config, nics
from dlibos_node.apps import registry
from dlibos_node.errors import DlibosError
from dlibos_node.hardening.apply import harden
from dlibos_node.hardening.profile import own_places, profile, status_file
from dlibos_node.memory import descriptor
from dlibos_node.memory.handover import Handover, fetch
from dlibos_node.memory.partition import Partition
from dlibos_node.metrics import TileCollector, listen, serve
from dlibos_node.nic.device import Device
from dlibos_node.noc.link import Network
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.noc.route import Grid
from dlibos_node.roles import rx, tx
from dlibos_node.roles.app import App
from dlibos_node.roles.driver import Driver
from dlibos_node.roles.role import Role
from dlibos_node.roles.stack import Stack
from dlibos_node.roles.steering import Steering
from dlibos_node.sockets import buffers
from dlibos_node.sockets.layer import Sockets
from dlibos_node.stack.interface import Interface
from dlibos_node.tcp.config import TcpConfig

log = logging.getLogger(__name__)

JOIN_TIMEOUT: Final = 60.0  # seconds until all peers of a mesh must have come up

# Who talks to whom: roles with a NoC link, and roles whose partitions a role reads.
TALKS: Final = {"driver": ("stack",), "stack": ("driver", "app"), "app": ("stack",), "idle": ()}
READS: Final = {"driver": ("stack", "app"), "stack": ("driver", "app"), "app": ("driver",), "idle": ()}


class Agent:
    """One tile of the mesh whose directory is `directory`; `hardened` if it gives up what its role does not need."""

    def __init__(self, directory: Path, tile: int, hardened: bool = True) -> None:
        self.mesh, self.tile = config.load(directory / "mesh.json", tile)
        self._directory = directory
        self.hardened = hardened
        self._role_name = config.ROLES[self.tile.role]
        self._grid = Grid(self.mesh.width, self.mesh.height)
        self._queues = Queues()
        self._network = Network(self.mesh.id, tile, self._queues, self._deliver, self._changed)
        self._collector = TileCollector(tile, self._role_name, self._queues, self._network.peers)
        self._views: dict[int, memoryview] = {}
        self._role: Role | None = None
        self._sockets: Sockets | None = None
        self._handover: Handover | None = None
        self._device: Device | None = None
        self._progress = asyncio.Event()  # a link changed or a frame came: look again whether all have joined
        self.status = mesh_pb2.TileStatus(tile=tile, role=self.tile.role, pid=os.getpid(), compiled=compiled())

    async def run(self) -> None:
        """Join the mesh and work until SIGTERM."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        try:
            joining = asyncio.create_task(asyncio.wait_for(self._join(), JOIN_TIMEOUT))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait((joining, stopping), return_when=asyncio.FIRST_COMPLETED)
            if joining.done():
                await joining
                await stopping
            joining.cancel()
        finally:
            await self._leave()

    async def _join(self) -> None:
        # What needs more than the running role does is opened first; threads and peers come after the hardening.
        metrics = listen(self._collector, "127.0.0.1", self.tile.metrics_port)
        self.status.metrics_port = metrics.server_port
        own = self._own_partition()
        self._device = await self._open_device()
        self._harden()
        serve(metrics)
        if own is not None:
            self._handover = Handover(self.tile.memory, [own])
            self._handover.start()
        await self._read_partitions()
        await self._start_role(own)
        await self._network.serve(self.tile.address)
        for other in self._others(TALKS):
            self._network.add(self._network.peers[other.tile], other.address)
        while not self._joined():
            self._progress.clear()
            await self._progress.wait()
        # What has been built lives as long as the tile: the collector need not look at it again, and a tile makes
        # no cycles per packet, so that a collection every 700 allocations would find nothing and cost much.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        self.status.ready = True
        self.report()

    def _harden(self) -> None:
        for place in own_places(self.tile, self._directory):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.hardened:
            outcomes = harden(profile(self.mesh, self.tile, self._directory))
            self.status.hardening.extend(map(str, outcomes))

    def _joined(self) -> bool:
        peers = self._network.peers.values()
        if self._sockets is not None:
            if self._sockets.problem:
                raise DlibosError(self._sockets.problem)
            return len(self._sockets.listening) == len(peers)
        return all(peer.up for peer in peers)

    async def _leave(self) -> None:
        await self._network.close()
        if self._role is not None:
            self._role.close()
        if self._handover is not None:
            self._handover.close()

    def report(self) -> None:
        """Write the observed state; a reader sees the old one or the new one, never a part."""
        target = status_file(self.tile, self._directory)
        draft = target.with_suffix(".new")
        draft.write_text(json_format.MessageToJson(self.status, preserving_proto_field_name=True))
        draft.replace(target)

    # --- what the NoC calls -------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        if self._role is not None:
            self._role.drain()
            self._progress.set()

    def _changed(self, peer: Peer) -> None:
        log.info("link to tile %d (%s) is %s", peer.number, peer.role, "up" if peer.up else "down")
        if self._role is not None:
            self._role.changed(peer)
        self._progress.set()

    # --- building -----------------------------------------------------------------------------------------------

    def _others(self, table: dict[str, tuple[str, ...]]) -> list[mesh_pb2.Tile]:
        wanted = table[self._role_name]
        return [entry for entry in self.mesh.tiles if config.ROLES[entry.role] in wanted]

    def _own_partition(self) -> Partition | None:
        sizes = {
            "driver": (descriptor.RX_INDEX, rx.SIZE),
            "stack": (descriptor.TX_INDEX, tx.SIZE),
            "app": (descriptor.APP_INDEX, buffers.SIZE),
        }
        if self._role_name not in sizes:
            return None
        index, size = sizes[self._role_name]
        return Partition.create(descriptor.partition_number(self.tile.tile, index), size)

    async def _read_partitions(self) -> None:
        others = self._others(READS)
        for partitions in await asyncio.gather(*(fetch(other.memory) for other in others)):
            for partition in partitions:
                self._views[partition.number] = partition.view

    def _peers(self) -> dict[str, dict[int, Peer]]:
        """Make a peer for every tile this one talks to, by role."""
        found: dict[str, dict[int, Peer]] = {name: {} for name in TALKS}
        for other in self._others(TALKS):
            role = config.ROLES[other.role]
            peer = Peer(
                self.tile.tile,
                other.tile,
                capacity=self.mesh.tunables.queue_words,
                hops=self._grid.hops(self.tile.tile, other.tile),
                role=role,
            )
            self._network.peers[other.tile] = found[role][other.tile] = peer
        return found

    async def _start_role(self, own: Partition | None) -> None:
        peers = self._peers()
        if own is None:
            return
        build = {"driver": self._build_driver, "stack": self._build_stack, "app": self._build_app}
        self._role = await build[self._role_name](own, peers)

    async def _open_device(self) -> Device | None:
        drivers = [entry.tile for entry in self.mesh.tiles if entry.role == mesh_pb2.ROLE_DRIVER]
        if self.tile.tile not in drivers:
            return None
        return await nics.open_device(self.mesh.nic, drivers.index(self.tile.tile))

    async def _build_driver(self, own: Partition, peers: dict[str, dict[int, Peer]]) -> Role:
        tunables, loop, device = self.mesh.tunables, asyncio.get_running_loop(), self._device
        if device is None:
            raise DlibosError(f"tile {self.tile.tile}: a driver without a device: see `dlibos logs {self.tile.tile}`")
        stacks = list(peers["stack"].values())
        driver = Driver(
            device,
            own,
            Steering(tunables.buckets, [peer.number for peer in stacks]),
            self._queues,
            stacks,
            self._views,
            loop,
            self._network.flush_to,
            hold=tunables.moderation_us,
            words=tunables.moderation_words,
            ring_words=tunables.queue_words,
        )
        loop.add_reader(device.fileno(), driver.readable)
        self._collector.watch_driver(driver)
        self.status.nic = self.mesh.nic.kind
        self.status.offloads.extend(device.offloads)
        return driver

    async def _build_stack(self, own: Partition, peers: dict[str, dict[int, Peer]]) -> Role:
        nic = self.mesh.nic
        address = config.interface_address(nic.address, "nic.address")
        stacks = sum(entry.role == mesh_pb2.ROLE_STACK for entry in self.mesh.tiles)
        interface = Interface(config.mac_address(nic.mac, "nic.mac"), int(address.ip), nic.mtu)
        stack = Stack(
            interface,
            TcpConfig(mss=nic.mtu - 40),
            tx.TxPort(own, share=0.5 / stacks),
            self._queues,
            peers["app"],
            self._views,
            asyncio.get_running_loop(),
            self._network.flush,
            secret=secrets.token_bytes(32),
            backlog=self.mesh.tunables.backlog,
        )
        self._collector.watch_stack(stack)
        return stack

    async def _build_app(self, own: Partition, peers: dict[str, dict[int, Peer]]) -> Role:
        kind = registry.find(self.tile.app.kind)
        self._sockets = Sockets(buffers.AppMemory(own), peers["stack"], self._views)
        app = App(self._sockets, self._queues, self._network.flush)
        application = kind.start(self.tile.app.root, _Timers(app.flush))
        self._sockets.listen(self.tile.app.port or kind.port, application.accept)
        self._collector.watch_app(app, application.statistics)
        return app


class _Timers:
    """`sockets.api.Timers` on the tile's loop: what a callback sends goes out when it returns."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._flush = flush

    def time(self) -> float:
        """Monotonic seconds."""
        return self._loop.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back once."""
        return self._loop.call_later(delay, self._call, callback)

    def _call(self, callback: Callable[[], None]) -> None:
        callback()
        self._flush()


def compiled() -> bool:
    """Whether the core runs compiled by mypyc."""
    found = importlib.util.find_spec("dlibos_node.tcp.connection")
    return found is not None and str(found.origin).endswith(".so")
