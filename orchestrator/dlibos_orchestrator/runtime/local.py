"""The local runtime: a mesh as processes of this machine. `up` starts it detached, `down` leaves nothing behind.

No process stays to watch the mesh. What runs is what the process table says (`processes`), what is wanted and what the
tiles say lies in the mesh's directory (`directory`).
"""

from __future__ import annotations

import secrets
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import MachineError, MeshStateError, StartError
from dlibos_orchestrator.model import credentials
from dlibos_orchestrator.model.desired import PROTECTION, desired_mesh, same_mesh
from dlibos_orchestrator.model.options import MeshOptions, Published
from dlibos_orchestrator.runtime import namespace, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, locked, mesh_directory
from dlibos_orchestrator.runtime.observe import lost
from dlibos_orchestrator.runtime.ports import host_sockets
from dlibos_orchestrator.runtime.start import last_words, start_all

USER_NIC_PUBLISH: Final = Published("127.0.0.1", 8080, 80)  # nothing else of the mesh could be reached
POLL: Final = 0.02  # seconds


def up(
    options: MeshOptions, timeout: float | None, notice: Callable[[str], None], mesh_key: bytes | None = None
) -> bool:
    """Bring a mesh up; return False when it was up already, just as asked for.

    `timeout`: seconds to wait until every tile is ready; None does not wait. `notice` gets lines worth telling. What
    fails is taken down again before the error is raised. Who gives a mesh key can start tiles again later.
    """
    options.check()
    kind = resolve_nic(options.nic, notice)
    if kind == mesh_pb2.NIC_KIND_USER and not options.publish:
        options = replace(options, publish=(USER_NIC_PUBLISH,))
    directory = mesh_directory(options.name)
    directory.check_length()
    with locked(options.name):
        mesh = desired_mesh(options, kind, directory.path, f"{options.name}-{secrets.token_hex(4)}")
        if not _is_new(directory, mesh, notice):
            if timeout is not None:
                wait_ready(directory, mesh, timeout)
            return False
        _launch(directory, mesh, timeout, mesh_key or draw_key(), options.compromised)
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
        pids = {process.tile: process.pid for process in processes.scan(directory.path)}
        waiting = [tile for tile in waiting if not _ready(directory, tile, pids.get(tile, 0))]
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise StartError(
                f"{len(waiting)} of {len(mesh.tiles)} tiles were not ready after {timeout:g} s (tile {waiting[0]}: "
                f"{last_words(directory.log_file(f'tile-{waiting[0]}')) or 'no word'}); try a longer --timeout"
            )
        time.sleep(POLL)


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
    if missing := lost(mesh, running):
        raise MeshStateError(f"mesh {name!r} has lost {missing[0]}; run `dlibos down --name {name}` first")
    return False


def _launch(
    directory: MeshDirectory,
    mesh: mesh_pb2.Mesh,
    timeout: float | None,
    mesh_key: bytes,
    compromised: Collection[int],
) -> None:
    with host_sockets(mesh) as sockets:
        try:
            directory.create()
            directory.write_mesh(mesh)
            key = mesh_key if mesh.protection == PROTECTION["protected"] else None
            start_all(directory, mesh, sockets, key, compromised)
            if timeout is not None:
                wait_ready(directory, mesh, timeout)
        except BaseException:
            with _undisturbed():
                _clear(directory)
            raise


def draw_key() -> bytes:
    """Return a new mesh key. It is written down nowhere and ends with this process."""
    return secrets.token_bytes(credentials.KEY)


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


def _ready(directory: MeshDirectory, tile: int, pid: int) -> bool:
    status = directory.read_status(tile)
    if status is not None and pid and status.pid != pid:
        return False  # the words of the process that was the tile before
    if status is not None and status.problem:
        raise StartError(f"tile {tile}: {status.problem}")
    if not pid:
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
