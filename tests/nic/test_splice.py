"""Back-pressure and ends of stream in the splice, with a transport that records what is done to it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator

import pytest

from dlibos_node.nic.memory import MemoryDevice
from dlibos_node.nic.user.answer import Link
from dlibos_node.nic.user.client import Client
from dlibos_node.nic.user.splice import Splice, microseconds
from dlibos_node.tcp.config import SECOND
from tests.nic.fake_mesh import ECHO, SOURCE, STUCK, FakeMesh
from tests.nic.frames import CLIENT, CLIENT_MAC, MESH, MESH_MAC

CHUNK = bytes(1 << 18)
LONG = bytes(range(256)) * 40_000  # more than the client's receive buffer


class Recorder(asyncio.Transport):
    """The host's socket as asyncio would present it."""

    def __init__(self) -> None:
        super().__init__()
        self._reading = True
        self.is_reset = False
        self.written = bytearray()
        self.ends: list[str] = []
        self.sock, self._other = socket.socketpair()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.sock if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (0, None)

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return "close" in self.ends or "abort" in self.ends

    def write_eof(self) -> None:
        if self.is_reset:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        self.ends.append("eof")

    def close(self) -> None:
        self.ends.append("close")

    def abort(self) -> None:
        self.ends.append("abort")

    def release(self) -> None:
        self.sock.close()
        self._other.close()


class Bench:
    """A splice between a recorder and a mesh, without an event loop: `run` moves frames until none is left."""

    def __init__(self, mesh_port: int, source: bytes, slow: bool, ports: int) -> None:
        self._frames: list[bytes] = []
        self.device = MemoryDevice(1500, self._frames.append)
        self.mesh = FakeMesh(self.device, source)
        link = Link(CLIENT, CLIENT_MAC, MESH, MESH_MAC)
        self.client = Client(link, range(20000, 20000 + ports), self.device.deliver, lambda _: None)
        self._hosts: list[Recorder] = []
        self.connect(mesh_port, slow)

    def connect(self, mesh_port: int, slow: bool = False) -> None:
        self.host = Recorder()
        self._hosts.append(self.host)
        self.splice = Splice(self.client, mesh_port)
        if slow:
            self.splice.pause_writing()
        self.splice.connection_made(self.host)
        self.run()

    def run(self) -> None:
        self.mesh.poll()
        while self._frames:
            frames = self._frames[:]
            self._frames.clear()
            for frame in frames:
                self.client.on_frame(frame, microseconds())
            self.mesh.poll()

    def close(self) -> None:
        for host in self._hosts:
            host.release()
        self.device.close()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(mesh_port: int, *, source: bytes = b"", slow: bool = False, ports: int = 1) -> Bench:
        made.append(Bench(mesh_port, source, slow, ports))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_mesh_that_does_not_read_stops_the_host(bench: Callable[..., Bench]) -> None:
    stuck = bench(STUCK)
    sent = 0
    while stuck.host.is_reading():
        stuck.splice.data_received(CHUNK)
        stuck.run()
        sent += len(CHUNK)
    (peer,) = stuck.mesh.accepted
    assert peer.count <= stuck.mesh.config.receive_buffer
    assert 1 << 20 <= sent - peer.count < (1 << 20) + len(CHUNK)
    while not stuck.host.is_reading():
        stuck.mesh.drain(peer)
        stuck.run()
    while peer.count < sent:
        stuck.mesh.drain(peer)
        stuck.run()
    assert peer.count == sent


def test_host_that_does_not_read_stops_the_mesh(bench: Callable[..., Bench]) -> None:
    slow = bench(SOURCE, source=LONG, slow=True)
    (peer,) = slow.mesh.accepted
    assert 0 < len(slow.host.written) <= 1 << 20
    assert peer.connection.unsent >= len(LONG) - (1 << 20)
    assert slow.host.ends == []
    slow.splice.resume_writing()
    slow.run()
    assert slow.host.written == LONG
    assert slow.host.ends == ["eof"]


def test_both_ends_close_in_order(bench: Callable[..., Bench]) -> None:
    one = bench(ECHO)
    one.splice.data_received(b"hello")
    one.run()
    assert one.splice.eof_received()
    one.run()
    assert one.host.written == b"hello"
    assert one.host.ends == ["eof", "close"]
    one.splice.connection_lost(None)
    one.run()
    assert one.mesh.accepted[0].closed == 0


def test_host_gone_resets_the_mesh(bench: Callable[..., Bench]) -> None:
    one = bench(STUCK)
    one.splice.data_received(b"hello")
    one.splice.connection_lost(ConnectionResetError())
    one.run()
    assert one.mesh.accepted[0].closed == 1
    one.splice.data_received(b"late")
    assert one.splice.eof_received()


def test_end_waits_for_a_slow_host(bench: Callable[..., Bench]) -> None:
    slow = bench(SOURCE, source=b"the end", slow=True)
    assert slow.host.written == b"the end"
    assert slow.host.ends == []
    slow.splice.resume_writing()
    assert slow.host.ends == ["eof"]


def test_host_resets_while_the_mesh_closes(bench: Callable[..., Bench]) -> None:
    one = bench(ECHO)
    one.host.is_reset = True
    one.splice.eof_received()
    one.run()
    assert one.host.ends == ["abort", "close"]


def test_refused(bench: Callable[..., Bench]) -> None:
    refused = bench(81)
    assert refused.host.ends == ["abort"]
    assert refused.host.sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == b"\1\0\0\0\0\0\0\0"


def test_no_port_left(bench: Callable[..., Bench]) -> None:
    assert bench(ECHO, ports=0).host.ends == ["abort"]


def test_port_is_free_again_after_time_wait(bench: Callable[..., Bench]) -> None:
    one = bench(ECHO)
    one.splice.eof_received()
    one.run()
    assert one.host.ends == ["eof", "close"]
    one.connect(ECHO)
    assert one.host.ends == ["abort"]  # the only port rests
    one.client.on_timer(microseconds() + 2 * SECOND)
    one.connect(ECHO)
    one.splice.data_received(b"again")
    one.run()
    assert one.host.written == b"again"
