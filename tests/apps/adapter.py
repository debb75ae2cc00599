"""Serves an application over asyncio streams of the kernel: the two protocols of the socket interface, thinly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from dlibos_node.sockets.api import Accept, Cancellable, Handler

BUFFER = 65536


class LoopTimers:
    """The clock of the event loop that runs now."""

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Cancellable:
        return asyncio.get_running_loop().call_later(delay, callback)


class KernelConnection(asyncio.Protocol):
    """Bytes in the transport's buffer count as unacknowledged; falling below the low mark is the acknowledgement."""

    def __init__(self, accept: Accept, opened: set[KernelConnection]) -> None:
        self._accept = accept
        self._opened = opened
        self._reserved: bytearray | None = None
        self.peer = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.transport.set_write_buffer_limits(high=1, low=0)  # tells when all is out
        self.peer = transport.get_extra_info("peername")[:2]
        self._opened.add(self)
        self._handler: Handler = self._accept(self)

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), BUFFER):
            self._handler.received(memoryview(data)[at : at + BUFFER])

    def eof_received(self) -> bool:
        self._handler.eof()
        return True

    def resume_writing(self) -> None:
        self._handler.sent()

    def connection_lost(self, exc: Exception | None) -> None:
        self._opened.discard(self)
        self._handler.closed(exc is not None)

    @property
    def unacknowledged(self) -> int:
        return self.transport.get_write_buffer_size()

    def send(self, data: bytes | bytearray | memoryview) -> bool:
        self.transport.write(bytes(data))
        return True

    def allocate(self, size: int) -> memoryview | None:
        if self._reserved is None:
            self._reserved = bytearray(min(size, BUFFER))
        return memoryview(self._reserved)

    def commit(self, length: int) -> None:
        assert self._reserved is not None
        self.transport.write(bytes(self._reserved[:length]))
        self._reserved = None

    def pause(self) -> None:
        self.transport.pause_reading()
        # The kernel may have taken everything already, and then no event would follow.
        asyncio.get_running_loop().call_soon(self._nothing_left)

    def resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        self.transport.write_eof()

    def hand_over(self, kept: Callable[[bool], None]) -> None:
        kept(True)  # the kernel has nobody else

    def abort(self) -> None:
        self.transport.abort()

    def _nothing_left(self) -> None:
        if not self.transport.is_closing() and not self.unacknowledged:
            self._handler.sent()


@asynccontextmanager
async def listening(accept: Accept) -> AsyncIterator[int]:
    """Serve on a free port of 127.0.0.1 and answer it."""
    opened: set[KernelConnection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: KernelConnection(accept, opened), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in tuple(opened):
            connection.abort()
        await server.wait_closed()
