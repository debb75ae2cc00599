"""Just enough of an HTTP/1.1 client for a demonstration: GET over a connection that is kept alive."""

from __future__ import annotations

import asyncio
from typing import Final

HEAD_LIMIT: Final = 64 * 1024  # bytes


class BadAnswerError(Exception):
    """The server's answer is not what was asked for."""


class Session:
    """One connection to `host`:`port`; `get` may be called again and again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._host: Final = host

    @classmethod
    async def connect(cls, host: str, port: int) -> Session:
        """Open a connection. OSError."""
        return cls(*await asyncio.open_connection(host, port, limit=HEAD_LIMIT), host)

    async def get(self, path: str) -> bytes:
        """Return the body of `path`; BadAnswerError unless it comes with status 200 and a length."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            return await self._reader.readexactly(content_length(head))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise BadAnswerError(f"the connection ended inside an answer: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


def content_length(head: bytes) -> int:
    """Return the length that the head of an answer with status 200 states."""
    status, *lines = head.split(b"\r\n")
    if not status.startswith(b"HTTP/1.1 200 "):
        raise BadAnswerError(f"status line {status.decode('latin-1')!r}")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise BadAnswerError("no Content-Length")
