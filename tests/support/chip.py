"""A whole chip in one process: real roles, real partitions, messages handed over by hand, a clock that is moved.

`Chip.settle` moves messages until none waits. Nothing here knows gRPC, sockets or time.
"""

from __future__ import annotations

import heapq
import os
import weakref
from collections import Counter
from collections.abc import Callable, Sequence

from dlibos_node.memory import descriptor
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.foreign import Foreign
from dlibos_node.memory.partition import Partition
from dlibos_node.nic.memory import MemoryDevice
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.roles import tx
from dlibos_node.roles.app import App
from dlibos_node.roles.driver import Driver
from dlibos_node.roles.reception import Reception
from dlibos_node.roles.role import Role
from dlibos_node.roles.rx import RxMemory
from dlibos_node.roles.stack import Stack
from dlibos_node.roles.steering import Steering
from dlibos_node.sockets import buffers
from dlibos_node.sockets.api import Accept
from dlibos_node.sockets.layer import Sockets
from dlibos_node.stack.interface import Interface
from dlibos_node.tcp.config import TcpConfig

MAC = bytes.fromhex("02d1b0000002")
PEER_MAC = bytes.fromhex("02d1b0000001")
ADDRESS = 0x0A4D0002  # 10.77.0.2
QUEUE_WORDS = 8192
BUCKETS = 64


def close_all(partitions: list[Partition]) -> None:
    for partition in partitions:
        partition.close()


class Timer:
    """A timer of the manual clock."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Time that moves only when told; seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(self.now + delay, callback)

    def next(self) -> float | None:
        return self._timers[0][0] if self._timers else None

    def advance(self, seconds: float) -> None:
        """Move the time, calling what falls due on the way."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if timer.callback is not None:
                timer.callback()
        self.now = end


class Tile:
    """One tile: its queues, what it knows of others, its role."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.queues = Queues()
        self.peers: dict[int, Peer] = {}
        self.foreign = Foreign()
        self.faults = Faults(self.peers)
        self.role: Role | None = None


class Chip:
    """`drivers` + `stacks` + `apps` tiles, numbered in this order, and one wire per driver."""

    def __init__(
        self,
        accept: Accept,
        *,
        drivers: int = 1,
        stacks: int = 1,
        apps: int = 1,
        config: TcpConfig | None = None,
        backlog: int = 128,
        hold: int = 0,
        port: int = 80,
        protected: bool = True,
        domains: Sequence[int] = (),
    ) -> None:
        """`domains`: the ports of several protection domains; application tiles belong to them in turn."""
        self.protected = protected
        self.blocked: set[tuple[int, int]] = set()  # (source, target) of links that carry nothing for now
        self.ports = list(domains) or [port]
        self.clock = ManualClock()
        self.sent: list[bytes] = []  # frames the drivers transmitted, virtio header included
        self.tiles = [Tile(n) for n in range(drivers + stacks + apps)]
        self.partitions: list[Partition] = []
        weakref.finalize(self, close_all, self.partitions)  # a chip has dozens of descriptors, and tests make hundreds
        self.kinds = kinds = [
            self.tiles[:drivers],
            self.tiles[drivers : drivers + stacks],
            self.tiles[drivers + stacks :],
        ]
        self.owners = bytes(kinds[1][bucket % stacks].number for bucket in range(BUCKETS))
        self._link(kinds[0], "driver", kinds[1], "stack")
        self._link(kinds[1], "stack", kinds[2], "app")
        self._link(kinds[1], "stack", kinds[1], "stack")
        self.devices = [MemoryDevice(1500, self.sent.append) for _ in kinds[0]]
        self.drivers = [self._driver(tile, device, hold) for tile, device in zip(kinds[0], self.devices, strict=True)]
        self.stacks = [self._stack(tile, kinds[2], config, backlog) for tile in kinds[1]]
        self.apps = [self._app(tile, accept, self._port(tile)) for tile in kinds[2]]
        self._connect()

    def _link(self, left: list[Tile], role: str, right: list[Tile], other: str) -> None:
        for a in left:
            for b in right:
                if a is b:
                    continue
                a.peers[b.number] = Peer(a.number, b.number, capacity=QUEUE_WORDS, role=other)
                b.peers[a.number] = Peer(b.number, a.number, capacity=QUEUE_WORDS, role=role)

    def _domain(self, tile: Tile) -> int:
        return tile.number % len(self.ports) + 1

    def _port(self, tile: Tile) -> int:
        return self.ports[self._domain(tile) - 1]

    def _own(self, tile: Tile, index: int, readers: list[Tile]) -> Partition:
        partition = Partition.create(descriptor.partition_number(tile.number, index), protected=self.protected)
        self.partitions.append(partition)
        for other in readers:
            mapped = Partition.attach(partition.number, os.dup(partition.fd), protected=self.protected)
            self.partitions.append(mapped)
            other.foreign.partitions[partition.number] = mapped
            other.foreign.entitled.add(partition.number)
        return partition

    def _received(self, tile: Tile, domain: int) -> RxMemory:
        apps = [app for app in self.kinds[2] if self._domain(app) == domain]
        return RxMemory(self._own(tile, domain, self.kinds[1] + apps))

    def _driver(self, tile: Tile, device: MemoryDevice, hold: int) -> Driver:
        stacks = list(tile.peers.values())
        several = range(len(self.ports) + 1) if len(self.ports) > 1 else (1,)
        reception = Reception(
            {domain: self._received(tile, domain) for domain in several},
            {port: domain for domain, port in enumerate(self.ports, 1)},
        )
        driver = Driver(
            device,
            reception,
            Steering(self.owners),
            tile.queues,
            stacks,
            tile.foreign,
            tile.faults,
            self.clock,
            lambda _number: None,
            hold=hold,
            words=768,
            ring_words=QUEUE_WORDS,
            protected=self.protected,
        )
        tile.role = driver
        return driver

    def _stack(self, tile: Tile, apps: list[Tile], config: TcpConfig | None, backlog: int) -> Stack:
        partition = self._own(tile, descriptor.TX_INDEX, self.kinds[0])
        stack = Stack(
            Interface(MAC, ADDRESS),
            config or TcpConfig(),
            tx.TxPort(partition),
            tile.queues,
            {driver.number: tile.peers[driver.number] for driver in self.kinds[0]},
            {app.number: tile.peers[app.number] for app in apps},
            {stack.number: tile.peers[stack.number] for stack in self.kinds[1] if stack is not tile},
            tile.foreign,
            {app.number: frozenset({self._port(app)}) for app in apps},
            tile.faults,
            self.clock,
            lambda: None,
            secret=b"k" * 32,
            backlog=backlog,
            protected=self.protected,
            tile=tile.number,
            owners=self.owners,
            neighbour=PEER_MAC,
        )
        tile.role = stack
        return stack

    def _app(self, tile: Tile, accept: Accept, port: int) -> App:
        partition = self._own(tile, descriptor.APP_INDEX, self.kinds[0] + self.kinds[1])
        memory, peers = buffers.AppMemory(partition), dict(tile.peers)
        sockets = Sockets(memory, peers, tile.foreign, tile.faults, protected=self.protected)
        sockets.listen(port, accept)
        app = App(sockets, tile.queues, peers.values(), tile.faults, lambda: None, protected=self.protected)
        tile.role = app
        return app

    def _connect(self) -> None:
        for tile in self.tiles:
            for peer in tile.peers.values():
                peer.connected([QUEUE_WORDS] * 4)
        for tile in self.tiles:
            for peer in tile.peers.values():
                if tile.role is not None:
                    tile.role.changed(peer)
        for tile in self.tiles:
            if tile.role is not None:
                tile.role.open()
        self.settle()

    def disconnect(self, number: int) -> None:
        """A tile dies: every other tile loses its link."""
        for tile in self.tiles:
            peer = tile.peers.get(number)
            if peer is not None and tile.role is not None:
                peer.lost()
                tile.role.changed(peer)
        self.settle()

    # --- running ------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Move messages until none waits anywhere."""
        moved = True
        while moved:
            moved = False
            for tile in self.tiles:
                for peer in tile.peers.values():
                    moved |= self._carry(tile, peer)

    def _carry(self, tile: Tile, peer: Peer) -> bool:
        if (tile.number, peer.number) in self.blocked:
            return False
        target = self.tiles[peer.number]
        words, owed = peer.take(), peer.take_owed(anyway=True)
        back = target.peers[tile.number]
        if owed:
            back.grant(owed)
        if not words:
            return False
        assert target.queues.accept(back, words) is None
        assert target.role is not None
        target.role.drain()
        return True

    def deliver(self, frame: bytes, driver: int = 0) -> None:
        """A frame, virtio header first, arrives at a driver."""
        assert self.devices[driver].deliver((frame,))

    def run(self) -> None:
        """Let the drivers read all that waits, and settle."""
        for driver, device in zip(self.drivers, self.devices, strict=True):
            before = -1
            while before != device.statistics.rx_frames:
                before = device.statistics.rx_frames
                driver.readable()
        self.settle()

    def transmitted(self) -> list[bytes]:
        """Take the frames sent since the last call."""
        frames, self.sent[:] = list(self.sent), []
        return frames

    def leases(self) -> int:
        """Buffers that are out: RX leased, TX in flight, APP unacknowledged."""
        received = sum(driver.memory.in_use for driver in self.drivers)
        return (
            received
            + sum(stack.port.in_use for stack in self.stacks)
            + sum(app.sockets.memory.in_use for app in self.apps)
        )

    def faults(self) -> Counter[tuple[Fault, int]]:
        """What all tiles together refused, by reason and sender."""
        return sum((tile.faults.counts for tile in self.tiles), Counter())

    def close(self) -> None:
        for device in self.devices:
            device.close()
