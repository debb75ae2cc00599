from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from dlibos_orchestrator.runtime.publisher import HIGH_WATER, Target, listen

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def bound() -> tuple[socket.socket, int]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


@asynccontextmanager
async def published(port_behind: int) -> AsyncIterator[int]:
    """The port that leads to `port_behind`."""
    listener, port = bound()
    servers = await listen([Target(listener.detach(), "127.0.0.1", port_behind)])
    try:
        yield port
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


@asynccontextmanager
async def mesh(serve: Serve) -> AsyncIterator[int]:
    """The published port of a server that runs `serve` per connection."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, published(server.sockets[0].getsockname()[1]) as port:
        yield port


async def test_bytes_pass_both_ways_and_a_half_close_stays_one() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everything = await reader.read()
        writer.write(everything[::-1])
        writer.close()

    async with mesh(answer_at_the_end) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        payload = bytes(range(256)) * 20_000
        writer.write(payload)
        writer.write_eof()
        assert await reader.read() == payload[::-1]
        writer.close()


async def test_the_meshs_half_close_leaves_the_clients_direction_open() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def close_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        heard.set_result(await reader.read())
        writer.close()

    async with mesh(close_first) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.write(b"late")
        writer.write_eof()
        assert await heard == b"late"
        writer.close()


async def test_nothing_behind_the_port_is_a_reset() -> None:
    unused, port_behind = bound()
    unused.close()
    async with published(port_behind) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_reset_by_the_mesh_reaches_the_client() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with mesh(reset) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_client_that_does_not_read_slows_the_mesh_and_loses_nothing() -> None:
    size = 32 << 20
    stuck = asyncio.Event()
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        del reader
        while sent < size:
            writer.write(bytes(1 << 16))
            sent += 1 << 16
            if writer.transport.get_write_buffer_size() > 1 << 16:
                stuck.set()
            await writer.drain()
        writer.close()

    async with mesh(pour) as port:
        client = socket.create_connection(("127.0.0.1", port))
        client.setblocking(False)
        await stuck.wait()
        assert sent < size, "what waits is bounded by socket buffers and the high-water mark"
        assert sent < (16 << 20) + HIGH_WATER
        received = 0
        while chunk := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
            received += len(chunk)
        assert received == size
        client.close()
