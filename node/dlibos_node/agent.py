"""The tile's agent: reads what the tile is to be, builds its role, joins it to the mesh, and says how that went."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import signal
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_node import assembly, config, nics, rights
from dlibos_node.assembly import Parts
from dlibos_node.bus import Bus
from dlibos_node.bus import Owner as BusOwner
from dlibos_node.bus import Tile as BusTile
from dlibos_node.errors import ConfigurationError, DlibosError
from dlibos_node.hardening.apply import harden
from dlibos_node.hardening.profile import own_places, profile, status_file
from dlibos_node.identity import Credentials
from dlibos_node.journal import Journal
from dlibos_node.load import Load
from dlibos_node.memory import calibration
from dlibos_node.memory.descriptor import INDEX_MASK, partition_number
from dlibos_node.memory.foreign import Foreign, Owner
from dlibos_node.memory.handover import Handover
from dlibos_node.memory.partition import Partition
from dlibos_node.metrics import TileCollector, listen, serve
from dlibos_node.nic.device import Device
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.link import Network
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.noc.route import Grid
from dlibos_node.roles.role import Role
from dlibos_node.roles.stack import Stack
from dlibos_node.sockets.layer import Sockets

log = logging.getLogger(__name__)

WATCH: Final = 0.1  # seconds between two looks at what the tile has to say of itself
COLLECT_AFTER: Final = 1.0  # seconds after a link went down; by then its tasks have ended
PATIENCE: Final = 5.0  # seconds to wait for tiles that may be dead
JOIN_TIMEOUT: Final = 60.0  # seconds until all peers of a mesh must have come up

FAILURES: Final = (TimeoutError, DlibosError, OSError)
"""What may keep a tile from its work."""

# Who talks to whom by NoC links.
TALKS: Final = {"driver": ("stack",), "stack": ("driver", "app", "stack"), "app": ("stack",), "idle": (), "fused": ()}


class Agent:
    """One tile of the mesh whose directory is `directory`.

    With `credentials` it believes nobody without a proof; a protected mesh's tiles have them, and no others.
    `status.incarnation` tells this process from those that were the tile before: it is set before `run`.
    """

    def __init__(self, directory: Path, tile: int, credentials: Credentials | None = None) -> None:
        self.mesh, self.tile = config.load(directory / "mesh.json", tile)
        if rights.is_protected(self.mesh) != (credentials is not None):
            raise ConfigurationError(
                "this mesh is protected and the tile has no credentials: only `dlibos up` can start it"
                if credentials is None
                else "the tile has credentials and the mesh is not protected: start both by the same `dlibos up`"
            )
        self._directory = directory
        self.protected = credentials is not None
        self._role_name = config.ROLES[self.tile.role]
        self._grid = Grid(self.mesh.width, self.mesh.height)
        self._queues = Queues()
        self._credentials = credentials
        self._foreign = Foreign()
        self._network = Network(
            self.mesh.id, tile, self._queues, self._deliver, self._changed, credentials, self._foreign.ready
        )
        self._faults = Faults(self._network.peers)
        self._collector = TileCollector(tile, self._role_name, self._queues, self._network.peers, self._faults)
        self._role: Role | None = None
        self._sockets: Sockets | None = None
        self._handover: Handover | None = None
        self._device: Device | None = None
        self._journal: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ports = rights.ports_of_apps(self.mesh)
        self._joining = True
        self._later: mesh_pb2.Mesh | None = None  # a change that came before the role was built
        self._progress = asyncio.Event()  # a link changed or a frame came: look again whether all have joined
        self._load = Load(tile)
        self._bus: Bus | None = None
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
        except FAILURES as error:
            self.status.problem = explain(error)
            with contextlib.suppress(OSError):
                self.report()
            raise
        finally:
            await self._leave()

    async def _join(self) -> None:
        # What needs more than the running role does is opened first; threads and peers come after the hardening.
        metrics = listen(self._collector, "127.0.0.1", self.tile.metrics_port)
        self.status.metrics_port = metrics.server_port
        own = self._own_partitions()
        if self.tile.role in nics.OWNERS:
            self._device = await assembly.open_device(self.mesh, self.tile, self._credentials)
        self._collector.watch_protection(rights.mode(self.mesh), calibration.costs() if self.protected else {})
        self._harden()
        serve(metrics)
        self._join_bus()
        if own:
            self._handover = Handover(
                self.tile.memory, lambda tile: self._entitled(tile, own), self._credentials, self._progress.set
            )
            self._collector.watch_handover(self._handover.refused)
            self._handover.start()
        await self._read_partitions()
        self._start_role(own)
        self._watching = asyncio.create_task(self._watch())
        await self._network.serve(self.tile.address)
        for other in self._others():
            self._network.add(self._network.peers[other.tile], other.address)
        self._joining = False
        if self._later is not None:
            self.apply(self._later)
        await self._open()
        while not self._joined():
            self._progress.clear()
            await self._progress.wait()
        # What has been built lives as long as the tile: the collector need not look at it again, and a tile makes
        # no cycles per packet, so that a collection every 700 allocations would find nothing and cost much.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        self.status.ready = True
        path = status_file(self.tile, self._directory).with_name("faults.jsonl")
        self._journal = asyncio.create_task(Journal(path, self.tile.tile, self._faults, self._faulted).run())

    async def _open(self) -> None:
        """Let the role begin when nobody would be told of memory that he cannot read; do not wait for the dead."""
        try:
            async with asyncio.timeout(PATIENCE):
                while self._unready():
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            late = ", ".join(map(str, self._unready()))
            log.warning("tiles %s do not read this one's memory after %g s: going on without them", late, PATIENCE)
        if self._role is not None:
            self._role.open()
            self._network.flush()

    def _unready(self) -> list[int]:
        """Return who is to read this tile's memory and has not mapped it; of a driver also stacks without a link."""
        mapped = self._handover.mapped if self._handover is not None else set()
        waiting = {entry.tile for entry in self.mesh.tiles if self._readable(entry)} - mapped - {self.tile.tile}
        if self.tile.role == mesh_pb2.ROLE_DRIVER:
            waiting.update(peer.number for peer in self._network.peers.values() if not peer.up)
        return sorted(waiting)

    def _harden(self) -> None:
        for place in own_places(self.tile, self._directory):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.protected:
            outcomes = harden(profile(self.mesh, self.tile, self._directory))
            self.status.hardening.extend(map(str, outcomes))

    def _faulted(self, lines: list[str]) -> None:
        self.status.faults = self._faults.total
        self.report()
        if self._bus is not None:
            for line in lines:
                self._bus.fault(line)

    def _joined(self) -> bool:
        peers = self._network.peers.values()
        if self._sockets is not None:
            if self._sockets.problem:
                raise DlibosError(self._sockets.problem)
            return len(self._sockets.listening) == len(peers) or self.tile.role == mesh_pb2.ROLE_FUSED
        return all(peer.up for peer in peers)

    # --- the bus ------------------------------------------------------------------------------------------------

    def _join_bus(self) -> None:
        """Nothing waits for it: a tile starts, and works, whether there is a broker or not."""
        if self.mesh.bus:
            password = None if self._credentials is None else self._credentials.bus
            me = BusTile(self.mesh.id, self.tile.tile, self.status.incarnation, password)
            self._bus = Bus(self.mesh.bus, me, BusOwner(self._desire, self._tell_load, self.report))
            self._load.frames = self._frames
            self._bus.start()

    def _desire(self, text: str) -> None:
        """A new desired state; one that makes no sense changes nothing."""
        try:
            mesh, _ = config.parse(text, "the bus", self.tile.tile)
        except ConfigurationError as error:
            log.warning("%s: the tile stays as it is", error)
        else:
            self.apply(mesh)

    def _tell_load(self) -> str:
        return json_format.MessageToJson(self._load.take(self.status.incarnation), indent=None)

    def _frames(self) -> int:
        if self._device is not None:
            return self._device.statistics.rx_frames + self._device.statistics.tx_frames
        return sum(peer.statistics.frames_in for peer in self._network.peers.values())

    # --- a mesh that changes ------------------------------------------------------------------------------------

    def apply(self, mesh: mesh_pb2.Mesh) -> None:
        """Become part of the mesh as it is wanted now; one that is older than what the tile knows changes nothing."""
        mine = next((entry for entry in mesh.tiles if entry.tile == self.tile.tile), None)
        if mesh.epoch <= self.mesh.epoch:
            return
        if mine is None or _job(mine) != _job(self.tile):
            log.info("the mesh has another use for this tile: its process is about to end")
            return
        if self._joining:
            if self._later is None or mesh.epoch > self._later.epoch:
                self._later = mesh
            return
        before, self.mesh, self.tile = self.mesh, mesh, mine
        self._ports.clear()
        self._ports.update(rights.ports_of_apps(mesh))
        self._exchange({entry.tile: entry for entry in before.tiles}, {entry.tile: entry for entry in mesh.tiles})
        if self._role is not None and mesh.owners != before.owners:
            self._role.assign(mesh.owners)
        if self._role is not None and mine.draining:
            self._role.retire()
        self._network.flush()
        self._progress.set()

    def _exchange(self, before: dict[int, mesh_pb2.Tile], after: dict[int, mesh_pb2.Tile]) -> None:
        """Part from the tiles that have left or do something else now, and meet those that are new."""
        for number, entry in before.items():
            if number != self.tile.tile and (number not in after or _job(after[number]) != _job(entry)):
                self._part(number)
        for number, entry in after.items():
            if number != self.tile.tile and (number not in before or _job(before[number]) != _job(entry)):
                self._meet(entry)

    def _part(self, number: int) -> None:
        peer = self._network.peers.get(number)
        if peer is not None:
            self._network.remove(peer)
            if self._role is not None:
                self._role.dismiss(peer)
        self._foreign.forget(number)

    def _meet(self, entry: mesh_pb2.Tile) -> None:
        self._follow(entry)
        if entry in self._others() and self._role is not None:
            peer = self._peer(entry)
            self._role.admit(peer)
            self._network.add(peer, entry.address)

    async def _watch(self) -> None:
        """Say what has changed in what others go by."""
        said = b""
        while True:
            self._look()
            if self._said() != said:
                self.report()
                said = self._said()
            await asyncio.sleep(WATCH)

    def _said(self) -> bytes:
        """Return what is worth a word by itself; how many connections there are is not."""
        self.status.connections = 0
        return self.status.SerializeToString(deterministic=True)

    def _look(self) -> None:
        if self._role is not None:
            self.status.drained = self._role.retired
        if self.tile.role == mesh_pb2.ROLE_STACK:
            self.status.held = self._role.held if isinstance(self._role, Stack) else _born_with(self.mesh, self.tile)
        self.status.epoch = self.mesh.epoch
        self.status.linked[:] = sorted(peer.number for peer in self._network.peers.values() if peer.up)

    async def _leave(self) -> None:
        for task in (self._journal, self._watching):
            if task is not None:
                task.cancel()
        if self._bus is not None:
            self.status.gone = True
            self.report()
            await self._bus.close()
        await self._network.close()
        if self._role is not None:
            self._role.close()
        self._foreign.close()
        if self._handover is not None:
            self._handover.close()

    def report(self) -> None:
        """Say the observed state, on the bus and in a file; a reader sees the old one or the new one, never a part."""
        self._look()  # whoever hears of this tile for the first time must not think that it holds nothing
        self.status.sequence += 1
        self.status.connections = self._load.connections()
        if self._bus is not None:
            self._bus.say(json_format.MessageToJson(self.status, indent=None))
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
        if not peer.up:
            # A link's end leaves cycles behind (calls, tasks, tracebacks), and the thresholds of `_join` are far away.
            asyncio.get_running_loop().call_later(COLLECT_AFTER, gc.collect)

    # --- building -----------------------------------------------------------------------------------------------

    def _others(self) -> list[mesh_pb2.Tile]:
        wanted = TALKS[self._role_name]
        return [
            entry for entry in self.mesh.tiles if config.ROLES[entry.role] in wanted and entry.tile != self.tile.tile
        ]

    def _own_partitions(self) -> list[Partition]:
        protected = rights.is_protected(self.mesh)
        numbers = [partition_number(self.tile.tile, index) for index in rights.owned(self.mesh, self.tile)]
        return [Partition.create(number, protected=protected) for number in numbers]

    def _entitled(self, tile: int, own: list[Partition]) -> list[Partition]:
        """Return what a tile may read of this one's memory."""
        indices = {index for entry in self.mesh.tiles if entry.tile == tile for index in self._readable(entry)}
        return [partition for partition in own if partition.number & INDEX_MASK in indices]

    def _readable(self, reader: mesh_pb2.Tile) -> list[int]:
        return rights.readable(self.mesh, self.tile, reader)

    async def _read_partitions(self) -> None:
        for other in self.mesh.tiles:
            self._follow(other)
        if missing := await self._foreign.all_ready(PATIENCE):
            late = ", ".join(map(str, missing))
            log.warning("the memory of tiles %s has not come after %g s: going on without it", late, PATIENCE)

    def _follow(self, other: mesh_pb2.Tile) -> None:
        indices = rights.readable(self.mesh, other, self.tile)
        if indices and other.tile != self.tile.tile:
            owner = Owner(other.memory, other.tile, self.tile.tile, self._credentials)
            self._foreign.follow(owner, [partition_number(other.tile, index) for index in indices])

    def _peers(self) -> dict[str, dict[int, Peer]]:
        """Make a peer for every tile this one talks to, by role."""
        found: dict[str, dict[int, Peer]] = {name: {} for name in TALKS}
        for other in self._others():
            peer = self._network.peers[other.tile] = self._peer(other)
            found[peer.role][other.tile] = peer
        return found

    def _peer(self, other: mesh_pb2.Tile) -> Peer:
        return Peer(
            self.tile.tile,
            other.tile,
            capacity=self.mesh.tunables.queue_words,
            hops=self._grid.hops(self.tile.tile, other.tile),
            role=config.ROLES[other.role],
        )

    def _start_role(self, own: list[Partition]) -> None:
        parts = Parts(self.mesh, self.tile, self._queues, self._peers(), self._foreign, self._faults, self._ports)
        match self.tile.role:
            case mesh_pb2.ROLE_DRIVER if self._device is not None:
                self._role = self._start_driver(parts, self._device, own)
            case mesh_pb2.ROLE_STACK:
                self._role = stack = assembly.build_stack(parts, own[0], self._network.flush)
                self._collector.watch_stack(stack)
                self._load.connections = stack.host.flows.__len__
            case mesh_pb2.ROLE_APP:
                self._role, application = assembly.build_app(parts, own[0], self._network.flush)
                self._sockets = self._role.sockets
                self._load.connections = self._sockets.__len__
                self._collector.watch_app(self._role, application.statistics)
            case mesh_pb2.ROLE_FUSED if self._device is not None:
                self._role = self._start_fused(parts, self._device, own)

    def _start_driver(self, parts: Parts, device: Device, own: list[Partition]) -> Role:
        loop, hold = asyncio.get_running_loop(), self.mesh.tunables.moderation_us
        driver = assembly.build_driver(parts, device, own, self._network.flush_to, loop, hold=hold)
        loop.add_reader(device.fileno(), driver.readable)
        self._collector.watch_driver(driver)
        self._describe(device)
        return driver

    def _start_fused(self, parts: Parts, device: Device, own: list[Partition]) -> Role:
        fused, application = assembly.build_fused(parts, device, own)
        asyncio.get_running_loop().add_reader(device.fileno(), fused.readable)
        self._collector.watch_driver(fused.driver)
        self._collector.watch_stack(fused.stack)
        self._collector.watch_app(fused.app, application.statistics)
        self._load.connections = fused.stack.host.flows.__len__
        self._describe(device)
        return fused

    def _describe(self, device: Device) -> None:
        self.status.nic = self.mesh.nic.kind
        self.status.offloads.extend(device.offloads)


def explain(error: BaseException) -> str:
    """Return why a tile could not be what it was asked to be."""
    return str(error) or "the other tiles did not come up in time: see their logs"


def _born_with(mesh: mesh_pb2.Mesh, tile: mesh_pb2.Tile) -> bytes:
    """Return the buckets that a stack tile holds from its start, as TileStatus.held has them."""
    bits = sum(1 << bucket for bucket, owner in enumerate(mesh.owners) if owner == tile.tile)
    return bits.to_bytes((len(mesh.owners) + 7) // 8, "little")


def _job(entry: mesh_pb2.Tile) -> tuple[mesh_pb2.Role.ValueType, int, str]:
    """What a tile is to others."""
    return entry.role, entry.domain, entry.address


def compiled() -> bool:
    """Whether the core runs compiled by mypyc."""
    found = importlib.util.find_spec("dlibos_node.tcp.connection")
    return found is not None and str(found.origin).endswith(".so")
