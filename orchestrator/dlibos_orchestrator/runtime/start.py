"""Starting the processes of a mesh, those first that others depend on."""

from __future__ import annotations

import os
import resource
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import StartError
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory

PATIENCE: Final = 10.0  # seconds for one process to open its sockets; far more than a loaded machine needs
LAST_WORDS: Final = 4096  # bytes of a log that are searched for its last line


def start_all(directory: MeshDirectory, mesh: mesh_pb2.Mesh, sockets: Sequence[socket.socket]) -> None:
    """Start every process of the mesh; `sockets` are the host's ends of its published ports. StartError, OSError."""
    _raise_file_limit()
    if mesh.nic.kind == mesh_pb2.NIC_KIND_TAP:
        keeper = _start_and_hear(directory, processes.KEEPER_MODULE, "keeper", [], [])
        _start_publisher(directory, mesh, keeper, sockets)
    for tile in mesh.tiles:
        arguments = ["--tile", str(tile.tile)]
        processes.spawn(processes.TILE_MODULE, directory.path, arguments, directory.log_file(f"tile-{tile.tile}"))


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
    for descriptor in (writer, *inherited):
        os.set_inheritable(descriptor, True)
    log = directory.log_file(name)
    try:
        pid = processes.spawn(module, directory.path, [*arguments, "--ready-fd", str(writer)], log)
    finally:
        os.close(writer)
        for descriptor in inherited:
            os.set_inheritable(descriptor, False)
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
