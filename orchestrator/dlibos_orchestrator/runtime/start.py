"""Starting the processes of a mesh, those first that others depend on."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import StartError
from dlibos_orchestrator.model import credentials
from dlibos_orchestrator.model.desired import is_protected
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.tiles import memory_file, raise_file_limit
from dlibos_orchestrator.runtime.words import last_words

PATIENCE: Final = 10.0  # seconds for one process to open its sockets; far more than a loaded machine needs
ORCHESTRATOR_LOG: Final = "orchestrator"


def start_all(
    directory: MeshDirectory, mesh: mesh_pb2.Mesh, sockets: Sequence[socket.socket], mesh_key: bytes, broker: str
) -> None:
    """Start every process of the mesh but its tiles, which the orchestrator starts. StartError, OSError.

    `sockets` are the host's ends of its published ports, `broker` is one of options.BROKERS.
    """
    raise_file_limit()
    start_orchestrator(directory, "--broker", broker)  # first: it takes longest
    if mesh.nic.kind == mesh_pb2.NIC_KIND_TAP:
        with memory_file(credentials.of_keeper(mesh, mesh_key) if is_protected(mesh) else None) as given:
            keeper = _start_and_hear(directory, processes.KEEPER_MODULE, "keeper", _flag(given), given)
        _start_publisher(directory, mesh, keeper, sockets)


def start_orchestrator(directory: MeshDirectory, *arguments: str) -> int:
    """Start the orchestrator, at first or in place of one that has ended; return its process id."""
    log = directory.log_file(ORCHESTRATOR_LOG)
    return processes.spawn(processes.ORCHESTRATOR_MODULE, directory.path, arguments, log)


def _flag(given: Sequence[int]) -> list[str]:
    return [word for descriptor in given for word in ("--credentials-fd", str(descriptor))]


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
