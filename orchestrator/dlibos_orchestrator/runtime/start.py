"""Starting the processes of a mesh, those first that others depend on."""

from __future__ import annotations

import os
import resource
import select
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import StartError
from dlibos_orchestrator.model import credentials
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory

PATIENCE: Final = 10.0  # seconds for one process to open its sockets; far more than a loaded machine needs
LAST_WORDS: Final = 4096  # bytes of a log that are searched for its last line


def start_all(
    directory: MeshDirectory,
    mesh: mesh_pb2.Mesh,
    sockets: Sequence[socket.socket],
    mesh_key: bytes | None,
    compromised: Collection[int] = (),
) -> None:
    """Start every process of the mesh; `sockets` are the host's ends of its published ports. StartError, OSError.

    With a mesh key every process gets its own credentials and demands proof of its peers; None: no proof is asked for.
    """
    _raise_file_limit()
    if mesh.nic.kind == mesh_pb2.NIC_KIND_TAP:
        with _credentials(None if mesh_key is None else credentials.of_keeper(mesh, mesh_key)) as given:
            keeper = _start_and_hear(directory, processes.KEEPER_MODULE, "keeper", _flag(given), given)
        _start_publisher(directory, mesh, keeper, sockets)
    for tile in mesh.tiles:
        module = processes.COMPROMISED_MODULE if tile.tile in compromised else processes.TILE_MODULE
        start_tile(directory, mesh, tile, mesh_key, module)


def start_tile(
    directory: MeshDirectory,
    mesh: mesh_pb2.Mesh,
    tile: mesh_pb2.Tile,
    mesh_key: bytes | None,
    module: str = processes.TILE_MODULE,
) -> int:
    """Start one tile, at first or in place of one that has ended; return its process id."""
    with _credentials(None if mesh_key is None else credentials.of_tile(mesh, mesh_key, tile)) as given:
        log = directory.log_file(f"tile-{tile.tile}")
        arguments = ["--tile", str(tile.tile), *_flag(given)]
        return processes.spawn(module, directory.path, arguments, log, given)


@contextmanager
def _credentials(document: bytes | None) -> Iterator[list[int]]:
    """Give the descriptors that a process inherits to read its credentials from: one, or none without credentials."""
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


def _flag(given: Sequence[int]) -> list[str]:
    return [word for descriptor in given for word in ("--credentials-fd", str(descriptor))]


def _raise_file_limit() -> None:
    """Let every tile have as many connections as this user may: children inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _start_publisher(
    directory: MeshDirectory, mesh: mesh_pb2.Mesh, keeper: int, sockets: Sequence[socket.socket]
) -> None:
    if not sockets:
        return
    address = mesh.nic.address.partition("/")[0]
    arguments = ["--keeper", str(keeper)]
    for listener, port in zip(sockets, mesh.nic.publish, strict=True):
        arguments += ["--publish", f"{listener.fileno()}:{address}:{port.mesh_port}"]
    inherited = [listener.fileno() for listener in sockets]
    _start_and_hear(directory, processes.PUBLISHER_MODULE, "publisher", arguments, inherited)


def _start_and_hear(
    directory: MeshDirectory, module: str, name: str, arguments: Sequence[str], inherited: Sequence[int]
) -> int:
    """Start a process and wait for its one word on a pipe; return its process id, or raise what it said instead."""
    reader, writer = os.pipe()
    log = directory.log_file(name)
    try:
        pid = processes.spawn(
            module, directory.path, [*arguments, "--ready-fd", str(writer)], log, [writer, *inherited]
        )
    finally:
        os.close(writer)
    if (word := _hear(reader)) != "ready":
        raise StartError(word or f"the {name} ended: {last_words(log) or 'without a word'}")
    return pid


def _hear(reader: int) -> str:
    with os.fdopen(reader) as pipe:
        spoken, _, _ = select.select([pipe], [], [], PATIENCE)
        return pipe.read() if spoken else f"no word after {PATIENCE:g} s; try again on a less busy machine"


def last_words(log: Path) -> str:
    """Return the last line of a log that says something, "" if none does."""
    try:
        lines = log.read_bytes()[-LAST_WORDS:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
