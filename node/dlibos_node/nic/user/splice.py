"""Joins one accepted host socket to one connection of the in-memory client, with back-pressure both ways."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Final, cast

from dlibos_node.nic.user.client import Client, Flow
from dlibos_node.tcp import event
from dlibos_node.tcp.span import Span

# Bytes read from the host and not yet acknowledged by the mesh, at which reading stops, and at which it goes on.
_STOP_READING: Final = 1 << 20
_READ_ON: Final = _STOP_READING // 2
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds


def microseconds() -> int:
    """Return the monotonic time that the in-memory client lives by."""
    return time.monotonic_ns() // 1000


class Splice(asyncio.Protocol):
    """One host socket. Ends of stream and resets pass in both directions; a refused connection resets the host's."""

    def __init__(self, client: Client, mesh_port: int) -> None:
        self._client: Final = client
        self._mesh_port: Final = mesh_port
        self._transport: asyncio.Transport | None = None
        self._flow: Flow | None = None  # None also when the mesh's end is closed
        # The host's kernel has not taken all bytes; meanwhile the mesh's window, and an end of stream, wait.
        self._host_is_slow = False
        self._unread = 0
        self._end_is_due = False

    # --- the host's end, called by asyncio ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the mesh's end; bytes may be sent before it is established."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)
        self._flow = self._client.connect(self._mesh_port, self, microseconds())
        if self._flow is None:
            self._reset_host()

    def data_received(self, data: bytes) -> None:
        """Send on; stop reading while the mesh is slow."""
        flow = self._flow
        if flow is None:
            return
        now = microseconds()
        flow.connection.send(Span(data, 0, len(data)), now)
        self._client.settle(flow, now)
        if flow.connection.unacknowledged >= _STOP_READING and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Half-close: the mesh gets a FIN, the host may still be sent to."""
        if self._flow is not None:
            now = microseconds()
            self._flow.connection.shutdown(now)
            self._client.settle(self._flow, now)
        return True

    def pause_writing(self) -> None:
        """The host is slow: leave what comes unread, so that the mesh's window closes and bounds what is buffered."""
        self._host_is_slow = True

    def resume_writing(self) -> None:
        """The host has caught up."""
        self._host_is_slow = False
        unread, self._unread = self._unread, 0
        if self._flow is not None and unread:
            now = microseconds()
            self._flow.connection.consume(unread, now)
            self._client.settle(self._flow, now)
        if self._end_is_due:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The host's socket is gone; if the mesh's end is not, nobody is left to read it."""
        self._transport = None
        if self._flow is not None:
            now = microseconds()
            self._flow.connection.abort(now)
            self._client.settle(self._flow, now)

    # --- the mesh's end, called by Client.settle ----------------------------------------------------------------

    def received(self, data: memoryview, now: int) -> None:
        """Write to the host."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
        if self._host_is_slow:
            self._unread += len(data)
        elif self._flow is not None:
            self._flow.connection.consume(len(data), now)

    def acknowledged(self) -> None:
        """Read on when the mesh has caught up."""
        if self._transport is None or self._flow is None or self._transport.is_reading():
            return
        if self._flow.connection.unacknowledged <= _READ_ON:
            self._transport.resume_reading()

    def peer_closed(self) -> None:
        """Half-close: the host gets an end of stream behind what is buffered."""
        self._end_is_due = self._host_is_slow
        if not self._host_is_slow:
            self._end()

    def closed(self, reason: int) -> None:
        """Close the host's end in the same way."""
        self._flow = None
        if reason != event.NORMAL:
            self._reset_host()
        elif self._transport is not None:
            self._transport.close()

    def _end(self) -> None:
        self._end_is_due = False
        if self._transport is None:
            return
        try:
            self._transport.write_eof()
        except OSError:  # the host has reset the connection, and asyncio has not heard of it yet
            self._transport.abort()

    def _reset_host(self) -> None:
        if self._transport is not None:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
