"""A client of the attacker's: connections to its own domain."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final

from dlibos_orchestrator.attack.page import ATTACKER_PORT
from dlibos_orchestrator.demo.http import content_length

CONNECT_SECONDS: Final = 3.0


class Friend:
    """Connections to the attacker's domain on `host`."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def connect(self, count: int) -> bytes:
        """Open connections and ask by each for a page once; return all that came."""
        heard = b""
        for _ in range(count):
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(self._host, ATTACKER_PORT)
                writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.append((reader, writer))
                writer.write(b"GET / HTTP/1.1\r\nHost: friend\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                heard += head + await reader.readexactly(content_length(head))
        return heard

    async def dial(self, count: int) -> None:
        """Open connections and say nothing."""
        for _ in range(count):
            async with asyncio.timeout(CONNECT_SECONDS):
                self._open.append(await asyncio.open_connection(self._host, ATTACKER_PORT))

    async def hear(self, enough: int, patience: float) -> bytes:
        """Return what comes on each connection: `enough` bytes, or until nothing does for `patience` seconds."""
        heard = b""
        for reader, _ in self._open:
            begun = len(heard)
            with suppress(TimeoutError, OSError):
                while len(heard) - begun < enough and (more := await asyncio.wait_for(reader.read(65536), patience)):
                    heard += more
        return heard

    async def drip(self, segments: int) -> None:
        """Send single bytes, each in a segment of its own."""
        for _ in range(segments):
            for _, writer in self._open:
                sock = writer.get_extra_info("socket")
                with suppress(BlockingIOError):
                    socket.socket.send(sock._sock, b"x")
            await asyncio.sleep(0)

    def close(self) -> None:
        """Close all of them, by a reset where something is unread."""
        for _, writer in self._open:
            writer.close()
        self._open.clear()
