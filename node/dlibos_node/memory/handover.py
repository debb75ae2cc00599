"""Partitions change hands as file descriptors over a unix socket (SCM_RIGHTS).

A reader connects; the owner sends one JSON line, a list of {"number"}, with the descriptors in the same order, and
closes. Who may ask is the directory's mode for now: the mesh directory belongs to one user.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from dlibos_node.errors import PartitionError
from dlibos_node.memory.partition import Partition

LIMIT = 64  # partitions of one tile


class Handover:
    """The owner's side."""

    def __init__(self, path: str, partitions: Sequence[Partition]) -> None:
        self._path = Path(path)
        self._partitions = partitions
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

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
        line = json.dumps([{"number": p.number} for p in self._partitions]) + "\n"
        with client:
            socket.send_fds(client, [line.encode()], [p.fd for p in self._partitions])

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)


async def fetch(path: str, *, protected: bool) -> list[Partition]:
    """Map every partition of the tile that listens at `path`.

    Waits until the tile listens: the caller bounds the time. Raises PartitionError when the answer is not understood.
    """
    while True:
        try:
            return await _fetch_once(path, protected=protected)
        except (FileNotFoundError, ConnectionRefusedError):
            await asyncio.sleep(0.02)


async def _fetch_once(path: str, *, protected: bool) -> list[Partition]:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, path)
        readable = asyncio.Event()
        loop.add_reader(sock.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(sock.fileno())
        line, fds, _, _ = socket.recv_fds(sock, 4096, LIMIT)
    try:
        numbers = [int(item["number"]) for item in json.loads(line)]
        if len(numbers) != len(fds):
            raise ValueError(f"{len(numbers)} partitions, {len(fds)} descriptors")
    except (ValueError, KeyError, TypeError) as error:
        for fd in fds:
            os.close(fd)
        raise PartitionError(f"{path}: not a list of partitions ({error}): is it a tile of this version?") from error
    return [Partition.attach(number, fd, protected=protected) for number, fd in zip(numbers, fds, strict=True)]
