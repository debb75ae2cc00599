"""The user-mode NIC: real host sockets on one side, a small mesh made of our own TCP on the other."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from dlibos_node.errors import DeviceError
from dlibos_node.nic.device import Device
from dlibos_node.nic.fault import Fault, Rates
from dlibos_node.nic.user import Link, UserNic, open_user_nic
from tests.nic.fake_mesh import ECHO, RESET, SINK, SOURCE, STUCK, FakeMesh
from tests.nic.frames import CLIENT, CLIENT_MAC, MESH, MESH_MAC

LINK = Link(CLIENT, CLIENT_MAC, MESH, MESH_MAC)
REFUSED = 81
MEBIBYTE = 1 << 20


@asynccontextmanager
async def serving(
    mesh_port: int, *, source: bytes = b"", rates: Rates | None = None
) -> AsyncIterator[tuple[FakeMesh, int]]:
    """Publish `mesh_port`; yield the mesh and the host port."""
    nic = await open_user_nic([("127.0.0.1", 0, mesh_port)], LINK, 0)
    device: Device = Fault(nic, 5, rates) if rates else nic
    mesh = FakeMesh(device, source)
    await attach(mesh)
    try:
        yield mesh, nic.ports[0]
    finally:
        mesh.close()


async def attach(mesh: FakeMesh) -> None:
    mesh.attach()
    mesh.device.attach()
    await asyncio.sleep(0)  # it listens from the loop's next turn on


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, limit=MEBIBYTE)


def noise(count: int) -> bytes:
    return random.Random(count).randbytes(count)


async def test_echo_and_orderly_close() -> None:
    async with serving(ECHO) as (mesh, port):
        reader, writer = await connect(port)
        for line in (b"over the chip\n", b"and back\n"):
            writer.write(line)
            assert await reader.readline() == line
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        await mesh.until(lambda: mesh.accepted[0].closed is not None)
        assert mesh.accepted[0].closed == 0
        assert mesh.accepted[0].peer_closed


async def test_upload_is_exact() -> None:
    data = noise(20 * MEBIBYTE)
    async with serving(SINK) as (mesh, port):
        reader, writer = await connect(port)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert mesh.accepted[0].received.digest() == hashlib.sha256(data).digest()


async def test_download_is_exact_and_ends_with_the_mesh() -> None:
    data = noise(20 * MEBIBYTE)
    async with serving(SOURCE, source=data) as (mesh, port):
        reader, writer = await connect(port)
        assert hashlib.sha256(await reader.read()).digest() == hashlib.sha256(data).digest()
        assert not mesh.accepted[0].peer_closed  # half closed: the host may still send
        writer.write(b"thank you")
        writer.close()
        await mesh.until(lambda: mesh.accepted[0].closed is not None)
        assert mesh.accepted[0].count == 9


async def test_both_ways_over_a_bad_wire() -> None:
    data = noise(MEBIBYTE // 2)
    rates = Rates(loss=0.003, duplicate=0.02, corrupt=0.003, reorder=0.05)
    async with serving(ECHO, rates=rates) as (_, port):
        reader, writer = await connect(port)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()


async def test_many_connections_at_once() -> None:
    async def one(port: int, number: int) -> bool:
        reader, writer = await connect(port)
        data = noise(1000 + number)
        writer.write(data)
        same = await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()
        return same

    async with serving(ECHO) as (mesh, port):
        assert all(await asyncio.gather(*(one(port, number) for number in range(200))))
        await mesh.until(lambda: all(peer.closed == 0 for peer in mesh.accepted))
        assert len(mesh.accepted) == 200


async def test_refused_connection_resets_the_host() -> None:
    async with serving(REFUSED) as (_, port):
        reader, writer = await connect(port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_reset_by_the_mesh_resets_the_host() -> None:
    async with serving(RESET) as (_, port):
        reader, writer = await connect(port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_reset_by_the_host_resets_the_mesh() -> None:
    async with serving(ECHO) as (mesh, port):
        reader, writer = await connect(port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()
        await mesh.until(lambda: mesh.accepted[0].closed is not None)
        assert mesh.accepted[0].closed == 1


async def test_connections_spread_over_drivers_that_share_a_port() -> None:
    first = await open_user_nic([("127.0.0.1", 0, ECHO)], LINK, 0)
    second = await open_user_nic([("127.0.0.1", first.ports[0], ECHO)], LINK, 1)
    meshes = [FakeMesh(first), FakeMesh(second)]
    for mesh in meshes:
        await attach(mesh)
    writers = [(await connect(first.ports[0]))[1] for _ in range(40)]
    await meshes[0].until(lambda: meshes[0].accepted)
    await meshes[1].until(lambda: meshes[1].accepted)
    ports = [{peer.header.peer_port for peer in mesh.accepted} for mesh in meshes]
    assert not ports[0] & ports[1]
    for writer in writers:
        writer.close()
    for mesh in meshes:
        mesh.close()


async def test_close_resets_what_is_open() -> None:
    nic = await open_user_nic([("127.0.0.1", 0, STUCK)], LINK, 0)
    mesh = FakeMesh(nic)
    await attach(mesh)
    reader, writer = await connect(nic.ports[0])
    writer.write(b"unanswered")
    await mesh.until(lambda: mesh.accepted and mesh.accepted[0].count)
    port = nic.ports[0]
    mesh.close()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    with pytest.raises(ConnectionRefusedError):
        await connect(port)
    writer.close()


async def test_nobody_is_taken_before_it_is_attached() -> None:
    nic = await open_user_nic([("127.0.0.1", 0, ECHO)], LINK, 0)
    with pytest.raises(ConnectionRefusedError):
        await connect(nic.ports[0])
    nic.close()


async def test_one_that_retires_takes_nobody_new_and_is_idle_when_the_last_has_left() -> None:
    async with serving(ECHO) as (mesh, port):
        reader, writer = await connect(port)
        await mesh.until(lambda: mesh.accepted)
        assert not mesh.device.idle
        mesh.device.quiesce()
        with pytest.raises(ConnectionRefusedError):
            await connect(port)
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        assert not mesh.device.idle
        writer.close()
        while not mesh.device.idle:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_port_taken(taken_port: int) -> None:
    with pytest.raises(DeviceError, match=f"port {taken_port} on 127.0.0.1 is taken; publish another"):
        await open_user_nic([("127.0.0.1", 0, 80), ("127.0.0.1", taken_port, 80)], LINK, 0)


@pytest.mark.parametrize("publish", [("192.0.2.1", 8080, 80), ("127.0.0.1", 99999, 80)])
async def test_cannot_listen(publish: tuple[str, int, int]) -> None:
    with pytest.raises(DeviceError, match=r"cannot listen on .*; publish an address of this machine"):
        await open_user_nic([publish], LINK, 0)


async def test_too_many_drivers() -> None:
    with pytest.raises(DeviceError, match="driver 16 needs a TAP"):
        await open_user_nic([], LINK, 16)


async def test_without_published_ports() -> None:
    nic: UserNic = await open_user_nic([], LINK, 15)
    assert nic.ports == []
    assert nic.offloads == ("csum", "tso4")
    nic.close()
