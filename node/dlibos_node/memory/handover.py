"""Partitions change hands as file descriptors over a unix socket (SCM_RIGHTS).

A reader connects and both sides prove who they are (`greeting`). The owner then sends one JSON line, a list of
{"number"} of what this tile may read, with the descriptors in the same order; or {"error": reason}, and closes. The
reader says "mapped" in a line of its own when it has mapped them all, and keeps the connection: it ends with the
owner's process, and the memory with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from dlibos_node import greeting
from dlibos_node.admission import Admission
from dlibos_node.errors import IdentityError, PartitionError, RefusedError
from dlibos_node.greeting import Callee, Caller, Refusal
from dlibos_node.identity import Context, Credentials
from dlibos_node.memory import descriptor
from dlibos_node.memory.partition import Partition

LIMIT = 64  # partitions of one tile
MAPPED: Final = b"mapped\n"
RETRY_FIRST: Final = 0.02  # seconds
RETRY_GROWTH: Final = 1.2
RETRY_LAST: Final = 0.05
BUSY: Final = {Refusal.SLOW.value, Refusal.CROWDED.value}  # the owner has no quarrel with us: ask again


class Handover:
    """The owner's side. `entitled` tells which partitions a tile may read; `refused` counts who got none, and why.

    `mapped` are the tiles that read the memory now; `changed` is called when one has joined them.
    """

    def __init__(
        self,
        path: str,
        entitled: Callable[[int], Sequence[Partition]],
        credentials: Credentials | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self.refused: Counter[Refusal] = Counter()
        self.mapped: set[int] = set()
        self._changed = changed
        self.admission = Admission()
        self._path = Path(path)
        self._entitled = entitled
        self._credentials = credentials
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._clients: set[asyncio.Task[None]] = set()
        self._readers: dict[int, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Listen at the path; a socket that a dead tile left there is replaced."""
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        self._socket.listen(128)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._socket.accept()
        except BlockingIOError:
            return
        client.setblocking(False)
        task = asyncio.create_task(self._serve(client))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):  # a client that has gone needs nothing any more
            admitted = await self.admission.run(self._admit(client), Refusal.SLOW, Refusal.CROWDED)
            if isinstance(admitted, Refusal):
                self.refused[admitted] += 1
                client.send(greeting.refuse(admitted))
                return
            tile, granted = admitted
            _hand_over(client, granted)
            await self._keep(tile, client)

    async def _keep(self, tile: int, client: socket.socket) -> None:
        """Hold the connection until the reader closes it. A tile has one: a new one takes the place of the old."""
        before = self._readers.pop(tile, None)
        if before is not None:
            before.cancel()
        self.mapped.discard(tile)
        self._readers[tile] = task = asyncio.create_task(self._hear(tile, client))
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if self._readers.get(tile) is task:
            del self._readers[tile]
            self.mapped.discard(tile)

    async def _hear(self, tile: int, client: socket.socket) -> None:
        if await _read_line(client) != MAPPED:
            return
        self.mapped.add(tile)
        if self._changed is not None:
            self._changed()
        await _read_line(client)

    async def _admit(self, client: socket.socket) -> tuple[int, Sequence[Partition]] | Refusal:
        """Return who the client is and what it gets, or why it gets nothing."""
        loop = asyncio.get_running_loop()
        callee = Callee(self._credentials, Context.MEMORY, greeting.peer_process(client))
        try:
            challenge = callee.challenge(await _read_line(client))
            if isinstance(challenge, Refusal):
                return challenge
            if challenge:
                await loop.sock_sendall(client, challenge)
                if (reason := callee.check(await _read_line(client))) is not None:
                    return reason
        except OSError:
            return Refusal.GREETING
        granted = self._entitled(callee.tile)
        return (callee.tile, granted) if granted else Refusal.RIGHTS

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        for task in self._clients:
            task.cancel()
        self._socket.close()
        self._path.unlink(missing_ok=True)


def _hand_over(client: socket.socket, partitions: Sequence[Partition]) -> None:
    line = json.dumps([{"number": p.number} for p in partitions]) + "\n"
    socket.send_fds(client, [line.encode()], [p.fd for p in partitions])


async def fetch(
    path: str, owner: int, tile: int, credentials: Credentials | None = None
) -> tuple[socket.socket, list[Partition]]:
    """Map what `tile` may read of the tile `owner`, which listens at `path`; without credentials (the unprotected mode)
    writable. Also returns the connection, which ends when the owner does.

    Waits until the owner listens: the caller bounds the time. PartitionError when it is not the owner, when it refuses,
    or when its answer is not understood.
    """
    delay = RETRY_FIRST
    while True:
        try:
            return await _fetch_once(path, owner, tile, credentials)
        except (FileNotFoundError, ConnectionError):
            pass
        except RefusedError as error:
            if error.reason not in BUSY:
                raise PartitionError(f"memory of tile {owner} at {path}: {error}") from error
        except IdentityError as error:
            raise PartitionError(f"memory of tile {owner} at {path}: {error}") from error
        except OSError as error:
            # Where the listener's queue is full, asyncio takes a unix socket for connected that is not.
            if error.errno != errno.ENOTCONN:
                raise
        await asyncio.sleep(delay)
        delay = min(delay * RETRY_GROWTH, RETRY_LAST)


async def _fetch_once(
    path: str, owner: int, tile: int, credentials: Credentials | None
) -> tuple[socket.socket, list[Partition]]:
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, path)
        if credentials is None:
            await loop.sock_sendall(sock, greeting.plain_greeting(tile))
        else:
            await _prove(sock, Caller(credentials, Context.MEMORY, owner))
        line, fds = await _receive(sock)
        return sock, _attach(path, owner, line, fds, protected=credentials is not None)
    except BaseException:
        sock.close()
        raise


async def _prove(sock: socket.socket, caller: Caller) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, caller.greeting())
    challenge = await _read_line(sock)
    if not challenge:
        raise ConnectionResetError("the owner ended before it answered")
    await loop.sock_sendall(sock, caller.answer(challenge, greeting.peer_process(sock)))


async def _read_line(sock: socket.socket) -> bytes:
    """Read up to the end of a line, or of the stream; descriptors that come along are dropped by the kernel."""
    line = b""
    while b"\n" not in line and len(line) < greeting.LINE:
        more = await asyncio.get_running_loop().sock_recv(sock, greeting.LINE)
        if not more:
            break
        line += more
    return line


async def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock.fileno())
    line, fds, _, _ = socket.recv_fds(sock, 4096, LIMIT)
    return line, fds


def _attach(path: str, owner: int, line: bytes, fds: list[int], *, protected: bool) -> list[Partition]:
    try:
        if (reason := greeting.refusal(line)) is not None:
            raise RefusedError(reason)
        numbers = [int(item["number"]) for item in json.loads(line)]
        if len(numbers) != len(fds):
            raise ValueError(f"{len(numbers)} partitions, {len(fds)} descriptors")
        if foreign := [number for number in numbers if descriptor.owner(number) != owner]:
            raise ValueError(f"partition {foreign[0]} is not of tile {owner}")
    except (ValueError, KeyError, TypeError, RefusedError) as error:
        for fd in fds:
            os.close(fd)
        if isinstance(error, RefusedError):
            raise
        raise PartitionError(f"{path}: not a list of partitions ({error}): is it a tile of this version?") from error
    return [Partition.attach(number, fd, protected=protected) for number, fd in zip(numbers, fds, strict=True)]
