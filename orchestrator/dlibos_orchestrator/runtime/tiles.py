"""The tiles of a mesh as processes of this machine: start one, kill one, see which there are."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import MeshStateError
from dlibos_orchestrator.model import credentials
from dlibos_orchestrator.model.desired import is_protected
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.nursery import Nursery, open_log

TILES: Final = (processes.TILE_MODULE, processes.COMPROMISED_MODULE)


class Running(NamedTuple):
    """A tile's process. `incarnation` is what it was started with."""

    pid: int
    incarnation: int


class Runtime:
    """Starts and ends the tiles of the mesh in `directory`, which has a mesh key and a Spec. All calls block.

    There may be one at a time: each ends the nursery of the one before.
    """

    def __init__(self, directory: MeshDirectory) -> None:
        raise_file_limit()
        self._directory = directory
        self._key = directory.read_key()
        self._nursery = Nursery(directory.path, directory.log_file("nursery"))

    def start(self, mesh: mesh_pb2.Mesh, tile: int, incarnation: int) -> int:
        """Start the process of a tile and return its id; the process table shows it by then. StartError, OSError.

        The caller sees to it that the tile does not run, and that `incarnation` is larger than all before.
        """
        entry = next(entry for entry in mesh.tiles if entry.tile == tile)
        compromised = tile in self._directory.read_spec().compromised
        module = processes.COMPROMISED_MODULE if compromised else processes.TILE_MODULE
        document = credentials.of_tile(mesh, self._key, entry) if is_protected(mesh) else None
        log = open_log(self._directory.log_file(f"tile-{tile}"))
        try:
            with memory_file(document) as given:
                order: dict[str, object] = {"tile": tile, "incarnation": incarnation, "module": module}
                return self._nursery.fork(order, [log, *given])
        finally:
            os.close(log)

    def kill(self, tile: int) -> None:
        """Kill a tile's process, if it has one; it is gone when this returns. MeshStateError if it would not go."""
        for process in processes.scan(self._directory.path):
            if process.tile == tile and process.module in TILES and not processes.kill(process.pid):
                raise MeshStateError(
                    f"process {process.pid} of tile {tile} does not end, not even killed; "
                    f"see `ps -o stat {process.pid}`"
                )

    def running(self) -> dict[int, Running]:
        """Return the tiles that have a process."""
        return {
            process.tile: Running(process.pid, process.incarnation)
            for process in processes.scan(self._directory.path)
            if process.tile is not None and process.module in TILES
        }

    def close(self) -> None:
        """Start nothing any more; the tiles go on."""
        self._nursery.close()


@contextmanager
def memory_file(document: bytes | None) -> Iterator[list[int]]:
    """Give the descriptors that a process reads its credentials from: one, or none without credentials."""
    if document is None:
        yield []
        return
    descriptor = os.memfd_create("dlibos-credentials", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, document)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield [descriptor]
    finally:
        os.close(descriptor)


def raise_file_limit() -> None:
    """Let every tile have as many connections as this user may: children inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
