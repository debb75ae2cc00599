"""The user-mode NIC as a device, and the published ports it listens on."""

from __future__ import annotations

import asyncio
import errno
import functools
from collections.abc import Sequence
from typing import Final

from dlibos_node.errors import DeviceError
from dlibos_node.nic.memory import MemoryDevice
from dlibos_node.nic.user.answer import Link
from dlibos_node.nic.user.client import Client
from dlibos_node.nic.user.splice import Splice, microseconds

# Client ports, in equal parts for the drivers: all clients have one address, and two must not use the same 4-tuple.
_FIRST_PORT: Final = 16384
_PORTS: Final = 3072
MAX_DRIVERS: Final = (65536 - _FIRST_PORT) // _PORTS

_BACKLOG: Final = 1024
_SECOND: Final = 1_000_000  # in microseconds

Publish = tuple[str, int, int]
"""Host address, host port (0: any free one), port of the mesh."""


class UserNic(MemoryDevice):
    """A `Device` whose wire ends at a client host in this process. Needs the running event loop.

    Its connections live and die with it: no other driver tile can go on with them. So one that is to retire takes no
    new ones (`quiesce`) and is `idle` when those it has have ended.
    """

    __slots__ = ("_inbox", "_loop", "_servers", "_starting", "_timer", "client")

    def __init__(self, link: Link, index: int) -> None:
        super().__init__(link.mtu, self._collect)
        first = _FIRST_PORT + index * _PORTS
        self._loop: Final = asyncio.get_running_loop()
        self._inbox: list[bytes] = []
        self._servers: Final[list[asyncio.Server]] = []
        self._starting: Final[set[asyncio.Task[None]]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.client: Final = Client(link, range(first, first + _PORTS), self.deliver, self._wake)

    @property
    def ports(self) -> list[int]:
        """The host ports it listens on, in the order they were published."""
        return [int(server.sockets[0].getsockname()[1]) for server in self._servers if server.sockets]

    async def publish(self, host: str, host_port: int, mesh_port: int) -> None:
        """Bind `host`:`host_port` for connections to `mesh_port`, to listen once attached; DeviceError when taken."""
        factory = functools.partial(Splice, self.client, mesh_port)
        try:
            server = await self._loop.create_server(
                factory, host, host_port, backlog=_BACKLOG, reuse_port=True, start_serving=False
            )
        except (OSError, OverflowError) as error:
            raise DeviceError(_cannot_listen(host, host_port, error)) from error
        self._servers.append(server)

    def attach(self) -> None:
        """Listen on the published ports."""
        for server in self._servers:
            task = self._loop.create_task(server.start_serving())
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    def quiesce(self) -> None:
        """Listen no more. A host connection that nobody has accepted by now is reset by the kernel."""
        for task in self._starting:
            task.cancel()
        for server in self._servers:
            server.close()

    @property
    def idle(self) -> bool:
        """Whether the in-memory client has no connection any more."""
        return self.client.idle

    def close(self) -> None:
        """Stop listening, reset what is open, and drop what is on the wire."""
        self.quiesce()
        if self._timer is not None:
            self._timer.cancel()
        self.client.abort(microseconds())
        super().close()

    def _collect(self, frame: bytes) -> None:
        """Collect what the driver sends in one go; the client's turn comes after the driver's."""
        if not self._inbox:
            self._loop.call_soon(self._run)
        self._inbox.append(frame)

    def _run(self) -> None:
        frames, self._inbox = self._inbox, []
        now = microseconds()
        for frame in frames:
            self.client.on_frame(frame, now)

    def _wake(self, deadline: int) -> None:
        """Run the client's timers at `deadline`, which is earlier than any it has asked for."""
        if self._timer is not None:
            self._timer.cancel()
        delay = max(deadline - microseconds(), 0) / _SECOND
        self._timer = self._loop.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.client.on_timer(microseconds())


async def open_user_nic(publish: Sequence[Publish], link: Link, index: int) -> UserNic:
    """Return a NIC that is to listen on the ports of `publish`; `index` of the driver sets its client ports apart.

    Several drivers may publish the same ports: the kernel spreads connections over them. Raises DeviceError when a
    port cannot be had; nothing stays open then.
    """
    if not 0 <= index < MAX_DRIVERS:
        raise DeviceError(f"the user-mode NIC serves {MAX_DRIVERS} driver tiles; driver {index} needs a TAP: --nic tap")
    nic = UserNic(link, index)
    try:
        for host, host_port, mesh_port in publish:
            await nic.publish(host, host_port, mesh_port)
    except DeviceError:
        nic.close()
        raise
    return nic


def _cannot_listen(host: str, port: int, error: Exception) -> str:
    """Say why, and what to do."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return f"port {port} on {host} is taken; publish another, or find who has it: ss -ltnp 'sport = :{port}'"
    if number == errno.EACCES:
        return f"port {port} on {host} needs privilege; publish a port from 1024 up"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"cannot listen on {host} port {port}: {reason}; publish an address of this machine, as 127.0.0.1"
