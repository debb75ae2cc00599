"""The process that publishes ports of a mesh on the host, for a mesh whose address lives in a namespace of its own.

`python -m dlibos_orchestrator.runtime.publisher --dir DIR --keeper PID --ready-fd FD --publish FD:ADDRESS:PORT ...`.
The launcher binds the host's sockets and passes them on, so a port that is taken shows before anything starts. This
process then enters the keeper's namespace and joins each accepted connection to one made there: bytes, back-pressure,
half-close and resets pass through.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import struct
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, cast

from dlibos_orchestrator.runtime import namespace

CHUNK: Final = 256 * 1024  # bytes read at once
HIGH_WATER: Final = 512 * 1024  # bytes that may wait for a slow reader before its source is paused
BACKLOG: Final = 4096
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER with time-out 0


class Target(NamedTuple):
    """A listening socket of the host and where its connections go."""

    descriptor: int
    address: str
    port: int


class Pipe(asyncio.BufferedProtocol):
    """One end of a joined pair: what it reads, its peer writes."""

    # One for all: what is read is written on, or copied by the peer's transport, before the loop reads again.
    _buffer: Final = memoryview(bytearray(CHUNK))

    def __init__(self, peer: Pipe | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.ended = False  # this end has read FIN
        self.peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; `HostPipe` and `MeshPipe` say when to read."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return room for the next bytes."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Write on what was read."""
        if (other := self._other()) is not None:
            other.write(self._buffer[:nbytes])

    def eof_received(self) -> bool:
        """Pass a half-close on; the connection stays open until both directions have ended."""
        self.ended = True
        if (other := self._other()) is not None:
            other.write_eof()
        return self.peer is not None and not self.peer.ended

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass a reset on as a reset and an orderly end as one."""
        other, self.peer, self.transport = self._other(), None, None
        if other is not None and exc is None:
            other.close()
        elif other is not None:
            reset(other)

    def pause_writing(self) -> None:
        """Stop reading at the other end: this one does not drain."""
        if (other := self._other()) is not None:
            other.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading at the other end."""
        if self.peer is not None and self.peer.transport is not None and not self.peer.ended:
            self.peer.transport.resume_reading()

    def _other(self) -> asyncio.Transport | None:
        return self.peer.transport if self.peer is not None else None


class HostPipe(Pipe):
    """The host's end: connects to the mesh as soon as it is accepted, and reads nothing before."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target: Final = target
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the mesh."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        # Not at once: in 3.11.2, which Debian 12 has, reading starts after this call even if it paused the transport.
        loop.call_soon(cast(asyncio.Transport, transport).pause_reading)
        self._connecting = loop.create_task(self._connect())

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up connecting too."""
        if self._connecting is not None:
            self._connecting.cancel()
        super().connection_lost(exc)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, self.peer = await loop.create_connection(lambda: Pipe(self), self._target.address, self._target.port)
        except OSError:
            if self.transport is not None:
                reset(self.transport)
            return
        if self.transport is not None:
            self.transport.resume_reading()


def reset(transport: asyncio.Transport) -> None:
    """Close with RST: what waits is dropped and the client knows at once."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


async def listen(targets: Sequence[Target]) -> list[asyncio.Server]:
    """Serve the host's sockets; connections to `targets` are made from the namespace this process is in by then."""
    loop = asyncio.get_running_loop()
    servers = []
    for target in targets:
        listener = socket.socket(fileno=target.descriptor)
        listener.setblocking(False)
        servers.append(await loop.create_server(partial(HostPipe, target), sock=listener, backlog=BACKLOG))
    return servers


async def serve(targets: Sequence[Target], ready_fd: int) -> None:
    """Publish until the process is ended."""
    servers = await listen(targets)
    os.write(ready_fd, b"ready")
    os.close(ready_fd)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _target(text: str) -> Target:
    descriptor, address, port = text.split(":")
    return Target(int(descriptor), address, int(port))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the publisher; one line on `--ready-fd` says whether it serves."""
    parser = argparse.ArgumentParser(prog="publisher")
    parser.add_argument("--dir", required=True, type=Path)
    parser.add_argument("--keeper", required=True, type=int)
    parser.add_argument("--ready-fd", required=True, type=int)
    parser.add_argument("--publish", required=True, type=_target, action="append")
    options = parser.parse_args(arguments)
    os.chdir("/")
    try:
        namespace.join(options.keeper)
    except OSError as error:
        os.write(options.ready_fd, f"no way into the mesh's namespace: {error}".encode())
        return 1
    asyncio.run(serve(options.publish, options.ready_fd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
