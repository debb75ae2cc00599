"""The local runtime: a mesh as processes of this machine. `up` starts it detached, `down` leaves nothing behind.

No process stays to watch the mesh. What runs is what the process table says (`processes`), what is wanted and what the
tiles say lies in the mesh's directory (`directory`).
"""

from __future__ import annotations

import errno
import os
import resource
import secrets
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import MachineError, MeshStateError, StartError
from dlibos_orchestrator.model.desired import desired_mesh, same_mesh
from dlibos_orchestrator.model.options import MeshOptions, Published
from dlibos_orchestrator.runtime import namespace, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, locked, mesh_directory

USER_NIC_PUBLISH: Final = Published("127.0.0.1", 8080, 80)  # nothing else of the mesh could be reached
PATIENCE: Final = 10.0  # seconds for one process to open its sockets; far more than a loaded machine needs
LAST_WORDS: Final = 4096  # bytes of a log that are searched for its last line
POLL: Final = 0.02  # seconds


def up(options: MeshOptions, timeout: float | None, notice: Callable[[str], None]) -> bool:
    """Bring a mesh up; return False when it was up already, just as asked for.

    `timeout`: seconds to wait until every tile is ready; None does not wait. `notice` gets lines worth telling. What
    fails is taken down again before the error is raised.
    """
    options.check()
    kind = resolve_nic(options.nic, notice)
    if kind == mesh_pb2.NIC_KIND_USER and not options.publish:
        options = replace(options, publish=(USER_NIC_PUBLISH,))
    with locked(options.name):
        directory = mesh_directory(options.name)
        mesh = desired_mesh(options, kind, directory.path, f"{options.name}-{secrets.token_hex(4)}")
        if not _is_new(directory, mesh, notice):
            if timeout is not None:
                wait_ready(directory, mesh, timeout)
            return False
        _launch(directory, mesh, timeout)
    return True


def down(name: str) -> bool:
    """Take a mesh down; return False when there was none. MeshStateError if something would not go."""
    directory = mesh_directory(name)
    if not directory.path.parent.is_dir() and not processes.scan(directory.path):
        return False
    with locked(name), _undisturbed():
        existed = directory.path.exists() or bool(processes.scan(directory.path))
        _clear(directory)
    return existed


def resolve_nic(choice: str, notice: Callable[[str], None]) -> mesh_pb2.NicKind.ValueType:
    """Return the kind of NIC that `--nic` comes to on this machine; MachineError for a TAP it cannot have."""
    if choice == "user":
        return mesh_pb2.NIC_KIND_USER
    tap = namespace.can_have_tap()
    if choice == "tap" and not tap:
        raise MachineError(f"--nic tap: {tap.reason}; {tap.fix}; or use --nic user")
    if choice == "auto":
        why = "" if tap else f" ({tap.reason})"
        notice(f"network interface: {'kernel TAP device' if tap else 'user-mode NIC'}{why}")
    return mesh_pb2.NIC_KIND_TAP if tap else mesh_pb2.NIC_KIND_USER


def wait_ready(directory: MeshDirectory, mesh: mesh_pb2.Mesh, timeout: float) -> None:
    """Return when every tile says it is ready; StartError when one has a problem, ends, or takes too long."""
    deadline = time.monotonic() + timeout
    waiting = [tile.tile for tile in mesh.tiles]
    while True:
        running = {process.tile for process in processes.scan(directory.path)}
        waiting = [tile for tile in waiting if not _ready(directory, tile, tile in running)]
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise StartError(
                f"{len(waiting)} of {len(mesh.tiles)} tiles were not ready after {timeout:g} s (tile {waiting[0]}: "
                f"{last_words(directory.log_file(f'tile-{waiting[0]}')) or 'no word'}); try a longer --timeout"
            )
        time.sleep(POLL)


def last_words(log: Path) -> str:
    """Return the last line of a log that says something, "" if none does."""
    try:
        lines = log.read_bytes()[-LAST_WORDS:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _is_new(directory: MeshDirectory, mesh: mesh_pb2.Mesh, notice: Callable[[str], None]) -> bool:
    """Tell whether the mesh must be launched; clear what a crash left; MeshStateError if another one is in the way."""
    name, running = directory.path.name, processes.scan(directory.path)
    if not running:
        if directory.path.exists():
            notice(f"clearing what is left of a mesh {name!r} that ended")
            _clear(directory)
        return True
    if not same_mesh(directory.read_mesh(), mesh):
        raise MeshStateError(f"mesh {name!r} is up, but not as asked for now; run `dlibos down --name {name}` first")
    if missing := {tile.tile for tile in mesh.tiles} - {process.tile for process in running}:
        raise MeshStateError(f"mesh {name!r} has lost tile {min(missing)}; run `dlibos down --name {name}` first")
    return False


def _launch(directory: MeshDirectory, mesh: mesh_pb2.Mesh, timeout: float | None) -> None:
    with _host_sockets(mesh) as sockets:
        directory.create()
        try:
            directory.write_mesh(mesh)
            _raise_file_limit()
            if mesh.nic.kind == mesh_pb2.NIC_KIND_TAP:
                keeper = _start_keeper(directory)
                _start_publisher(directory, mesh, keeper, sockets)
            _start_tiles(directory, mesh)
            if timeout is not None:
                wait_ready(directory, mesh, timeout)
        except BaseException:
            with _undisturbed():
                _clear(directory)
            raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put off a second ctrl-C: cleaning up takes seconds at most and must not stop half-way."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _clear(directory: MeshDirectory) -> None:
    """End every process of the mesh and remove its directory."""
    if stubborn := processes.stop_all(directory.path):
        pids = ", ".join(str(process.pid) for process in stubborn)
        raise MeshStateError(
            f"processes {pids} of {directory.path} do not end, not even killed; see `ps -o stat {pids}`"
        )
    shutil.rmtree(directory.path, ignore_errors=True)
    if directory.path.exists():
        raise MeshStateError(f"{directory.path} cannot be removed; remove it by hand")


@contextmanager
def _host_sockets(mesh: mesh_pb2.Mesh) -> Iterator[list[socket.socket]]:
    """Bind the published ports before anything starts. With the user-mode NIC the drivers bind them again later."""
    sockets: list[socket.socket] = []
    try:
        for port in mesh.nic.publish:
            sockets.append(_bind(Published(port.host, port.host_port, port.mesh_port)))
        if mesh.nic.kind == mesh_pb2.NIC_KIND_USER:
            _close_all(sockets)
        yield sockets
    finally:
        _close_all(sockets)


def _close_all(sockets: list[socket.socket]) -> None:
    while sockets:
        sockets.pop().close()


def _bind(port: Published) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((port.host, port.host_port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise MachineError(_why_not_published(port, error)) from error
    return listener


def _why_not_published(port: Published, error: OSError) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--publish: {port.host} is not an address of this machine; use 127.0.0.1"
    other = port.host_port + (10_000 if port.host_port < 50_000 else -10_000)
    return (
        f"port {port.host}:{port.host_port} cannot be published: {error.strerror}; "
        f"choose another, as in --publish {other}:{port.mesh_port}"
    )


def _raise_file_limit() -> None:
    """Let every tile have as many connections as this user may: children inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _start_keeper(directory: MeshDirectory) -> int:
    return _start_and_hear(directory, processes.KEEPER_MODULE, "keeper", [], [])


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


def _start_tiles(directory: MeshDirectory, mesh: mesh_pb2.Mesh) -> None:
    for tile in mesh.tiles:
        arguments = ["--tile", str(tile.tile)]
        processes.spawn(processes.TILE_MODULE, directory.path, arguments, directory.log_file(f"tile-{tile.tile}"))


def _ready(directory: MeshDirectory, tile: int, running: bool) -> bool:
    status = directory.read_status(tile)
    if status is not None and status.problem:
        raise StartError(f"tile {tile}: {status.problem}")
    if not running:
        words = last_words(directory.log_file(f"tile-{tile}")) or "without a word"
        raise StartError(f"tile {tile} ended: {words}")
    return status is not None and status.ready


def reachable_address(mesh: mesh_pb2.Mesh) -> str:
    """Return what a program run by `enter` puts behind http://, "" when nothing is published."""
    if mesh.nic.kind == mesh_pb2.NIC_KIND_TAP:
        return mesh.nic.address.partition("/")[0]
    return next((f"{port.host}:{port.host_port}" for port in mesh.nic.publish), "")


def enter(directory: MeshDirectory) -> None:
    """Move this process to where the mesh's address is reachable: nowhere else with the user-mode NIC."""
    if directory.read_mesh().nic.kind != mesh_pb2.NIC_KIND_TAP:
        return
    keepers = [p.pid for p in processes.scan(directory.path) if p.module == processes.KEEPER_MODULE]
    name = directory.path.name
    if not keepers:
        raise MeshStateError(f"mesh {name!r} has lost its namespace; run `dlibos down --name {name}` and `dlibos up`")
    try:
        namespace.join(keepers[0])
    except OSError as error:
        raise MachineError(f"no way into the namespace of mesh {name!r}: {error}; see `dlibos doctor`") from error
