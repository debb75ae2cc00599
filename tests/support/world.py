"""A chip and a client host on its wire, moved along together by one manual clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dlibos_node.nic.user.answer import Link
from dlibos_node.nic.user.client import Client, Flow
from dlibos_node.sockets.api import Accept
from dlibos_node.tcp.span import Span
from dlibos_node.wire.buffer import Buffer
from tests.support.chip import ADDRESS, MAC, Chip

CLIENT = Link(
    address=0x0A4D0001,
    mac=bytes.fromhex("02d1b0000001"),
    mesh_address=ADDRESS,
    mesh_mac=MAC,
    mtu=1500,
)


class Visitor:
    """A client-side handler: what it received, and how it ended."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.peer_has_closed = False
        self.reason: int | None = None
        self.flow: Flow | None = None
        self.reading = True
        self.unread = 0

    def received(self, data: memoryview, now: int) -> None:
        self.data += data
        if self.reading and self.flow is not None:
            self.flow.connection.consume(len(data), now)
        else:
            self.unread += len(data)

    def acknowledged(self) -> None:
        pass

    def peer_closed(self) -> None:
        self.peer_has_closed = True

    def closed(self, reason: int) -> None:
        self.reason = reason


class World:
    """`lose` decides for every frame, both ways, whether the wire loses it."""

    def __init__(
        self,
        accept: Accept,
        *,
        lose: Callable[[bytes], bool] = lambda _frame: False,
        first_port: int = 50_000,
        **chip: Any,
    ) -> None:
        self.chip = Chip(accept, **chip)
        self.lose = lose
        self.client = Client(CLIENT, range(first_port, first_port + 2000), self._to_mesh, lambda _deadline: None)
        self._turn = 0
        self.attached = list(range(len(self.chip.devices)))
        """The drivers that the client's frames go to, in turn."""

    @property
    def now(self) -> int:
        return int(self.chip.clock.time() * 1e6)

    def _to_mesh(self, parts: Sequence[Buffer]) -> bool:
        frame = b"".join(parts)
        if not self.lose(frame):
            self._turn += 1
            self.chip.deliver(frame, self.attached[self._turn % len(self.attached)])
        return True

    def connect(self, port: int = 80) -> Visitor:
        visitor = Visitor()
        visitor.flow = self.client.connect(port, visitor, self.now)
        assert visitor.flow is not None
        self.run()
        return visitor

    def send(self, visitor: Visitor, data: bytes) -> None:
        assert visitor.flow is not None
        visitor.flow.connection.send(Span(data, 0, len(data)), self.now)
        self.client.settle(visitor.flow, self.now)
        self.run()

    def act(self, visitor: Visitor, what: str) -> None:
        """Call `shutdown` or `abort` of a visitor's connection."""
        assert visitor.flow is not None
        getattr(visitor.flow.connection, what)(self.now)
        self.client.settle(visitor.flow, self.now)
        self.run()

    def run(self) -> None:
        """Exchange frames until both sides are quiet, without moving the time."""
        while True:
            self.chip.run()
            frames = self.chip.transmitted()
            if not frames:
                return
            for frame in frames:
                if not self.lose(frame):
                    self.client.on_frame(frame, self.now)

    def pass_time(self, seconds: float, step: float = 0.01) -> None:
        """Let time pass, timers of both sides included."""
        end = self.chip.clock.time() + seconds
        while self.chip.clock.time() < end:
            self.chip.clock.advance(step)
            self.client.on_timer(self.now)
            self.run()
