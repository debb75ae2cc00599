"""A fused tile in one process: the roles as `assembly` ties them together, a manual clock, a wire in memory."""

from __future__ import annotations

from typing import Any

from dlibos_node.memory import descriptor
from dlibos_node.memory.foreign import Foreign
from dlibos_node.memory.partition import Partition
from dlibos_node.nic.memory import MemoryDevice
from dlibos_node.nic.user.client import Client
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.queues import Queues
from dlibos_node.roles.app import App
from dlibos_node.roles.direct import APP, STACK, DirectEvents, DirectPort
from dlibos_node.roles.driver import Driver
from dlibos_node.roles.fused import Fused, Inbox, LocalPeers
from dlibos_node.roles.reception import Reception
from dlibos_node.roles.rx import RxMemory
from dlibos_node.roles.stack import Stack
from dlibos_node.roles.steering import Steering
from dlibos_node.sockets.api import Accept
from dlibos_node.sockets.buffers import AppMemory
from dlibos_node.sockets.layer import Sockets
from dlibos_node.stack.interface import Interface
from dlibos_node.tcp.config import TcpConfig
from tests.support.chip import ADDRESS, MAC, ManualClock
from tests.support.world import CLIENT, World

TILE = 3
DOMAIN = 1


class FusedChip:
    """What `World` needs of a chip, with one fused tile."""

    def __init__(self, accept: Accept, port: int = 80) -> None:
        self.fused: Fused | None = None  # until all roles are there
        self.clock = ManualClock()
        self.sent: list[bytes] = []
        self.devices = [MemoryDevice(1500, self.sent.append)]
        received, headers, payload = (
            Partition.create(descriptor.partition_number(TILE, index), protected=False)
            for index in (DOMAIN, descriptor.TX_INDEX, descriptor.APP_INDEX)
        )
        self.foreign = Foreign()
        self.foreign.partitions.update((one.number, one) for one in (received, headers, payload))
        self.faults = Faults({})
        self.driver = self._driver(received)
        peers = LocalPeers()
        stack_inbox, app_inbox = Inbox(peers.app_to_stack), Inbox(peers.stack_to_app)
        stacks = {STACK: peers.app_to_stack}
        sockets = Sockets(AppMemory(payload), stacks, self.foreign, self.faults, protected=False)
        sockets.listen(port, accept)
        self.app = App(sockets, app_inbox, stacks.values(), self.faults, self._run, protected=False)
        tx = DirectPort(headers, self.devices[0], self.driver.memory, payload, self.driver.drops)
        self.stack = self._stack(tx, stack_inbox, peers)
        self.fused = Fused(self.driver, self.stack, self.app, stack_inbox, app_inbox, TILE, self.clock)
        self.fused.start(peers)
        self.fused.open()

    def _run(self, _number: int = 0) -> None:
        if self.fused is not None:
            self.fused.run()

    def _driver(self, received: Partition) -> Driver:
        memory = Reception({DOMAIN: RxMemory(received)}, {80: DOMAIN})
        return Driver(
            self.devices[0],
            memory,
            Steering([]),
            Queues(),
            [],
            self.foreign,
            self.faults,
            self.clock,
            self._run,
            hold=0,
            words=768,
            ring_words=8192,
            protected=False,
        )

    def _stack(self, port: DirectPort, inbox: Inbox, peers: LocalPeers) -> Stack:
        return Stack(
            Interface(MAC, ADDRESS),
            TcpConfig(),
            port,
            inbox,
            {},
            {APP: peers.stack_to_app},
            {},
            self.foreign,
            {},
            self.faults,
            self.clock,
            self._run,
            secret=b"k" * 32,
            backlog=128,
            protected=False,
            events=DirectEvents(port, self.app.sockets),
        )

    def deliver(self, frame: bytes, driver: int = 0) -> None:
        """A frame, virtio header first, arrives."""
        assert self.devices[driver].deliver((frame,))

    def run(self) -> None:
        """Let the tile read all that waits."""
        assert self.fused is not None
        device, before = self.devices[0], -1
        while before != device.statistics.rx_frames:
            before = device.statistics.rx_frames
            self.fused.readable()

    def transmitted(self) -> list[bytes]:
        """Take the frames sent since the last call."""
        frames, self.sent[:] = list(self.sent), []
        return frames

    def leases(self) -> int:
        """Buffers that are out: received frames, and payload not yet acknowledged."""
        return self.driver.memory.in_use + self.stack.port.in_use + self.app.sockets.memory.in_use


class FusedWorld(World):
    """A `World` around a fused tile."""

    def __init__(self, accept: Accept, **world: Any) -> None:
        self.chip: Any = FusedChip(accept)
        self.lose = world.get("lose", lambda _frame: False)
        self.client = Client(CLIENT, range(50_000, 52_000), self._to_mesh, lambda _deadline: None)
        self._turn = 0
        self.attached = [0]
