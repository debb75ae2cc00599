"""The local runtime: a mesh as processes of this machine. `up` starts it detached, `down` leaves nothing behind.

`up` writes down what the mesh is to be and starts the processes that tiles need, the orchestrator among them; tiles are
started, and started again, by the orchestrator alone. What runs is what the process table says (`processes`), what is
wanted and what the tiles say lies in the mesh's directory (`directory`).
"""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.errors import MachineError, MeshStateError
from dlibos_orchestrator.model import credentials
from dlibos_orchestrator.model.desired import counts, desired_mesh, same_counts, same_frame
from dlibos_orchestrator.model.options import MeshOptions, Published
from dlibos_orchestrator.model.spec import spec_of
from dlibos_orchestrator.runtime import namespace, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, locked, mesh_directory
from dlibos_orchestrator.runtime.observe import has_orchestrator, lost
from dlibos_orchestrator.runtime.ports import host_sockets
from dlibos_orchestrator.runtime.start import start_all, start_orchestrator
from dlibos_orchestrator.runtime.wait import Watch

USER_NIC_PUBLISH: Final = Published("127.0.0.1", 8080, 80)  # nothing else of the mesh could be reached


def up(options: MeshOptions, timeout: float | None, notice: Callable[[str], None]) -> bool:
    """Bring a mesh up; return False when it was up already.

    `timeout`: seconds to wait until every tile is ready; None waits for their processes only. `notice` gets lines worth
    telling. What fails is taken down again before the error is raised.
    """
    options.check()
    kind = resolve_nic(options.nic, notice)
    if kind == mesh_pb2.NIC_KIND_USER and not options.publish:
        options = replace(options, publish=(USER_NIC_PUBLISH,))
    directory = mesh_directory(options.name)
    directory.check_length()
    with locked(options.name):
        mesh = desired_mesh(options, kind, directory.path, f"{options.name}-{secrets.token_hex(4)}")
        if not _is_new(directory, mesh, spec_of(options), notice):
            if timeout is not None:
                Watch(directory, directory.read_mesh(), first=False).ready(timeout)
            return False
        _launch(directory, mesh, options, timeout)
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


def _is_new(
    directory: MeshDirectory, mesh: mesh_pb2.Mesh, asked: orchestrator_pb2.Spec, notice: Callable[[str], None]
) -> bool:
    """Tell whether the mesh must be launched; clear what a crash left; MeshStateError if another one is in the way."""
    name, running = directory.path.name, processes.scan(directory.path)
    if not running:
        if directory.path.exists():
            notice(f"clearing what is left of a mesh {name!r} that ended")
            _clear(directory)
        return True
    _compare(directory, mesh, asked, notice)
    if missing := lost(mesh, running):
        raise MeshStateError(f"mesh {name!r} has lost {missing[0]}; run `dlibos down --name {name}` first")
    if not has_orchestrator(running):
        start_orchestrator(directory)
        notice(f"the orchestrator of mesh {name!r} had ended; started again")
    return False


def _compare(
    directory: MeshDirectory, mesh: mesh_pb2.Mesh, asked: orchestrator_pb2.Spec, notice: Callable[[str], None]
) -> None:
    """Refuse a mesh that is another than the one that runs; say where that one was changed since it was asked for."""
    name, wanted = directory.path.name, directory.read_spec()
    if not same_frame(directory.read_mesh(), mesh):
        raise MeshStateError(f"mesh {name!r} is up, but not as asked for now; run `dlibos down --name {name}` first")
    if same_counts(asked, wanted):
        return
    if not same_counts(asked, directory.read_asked()):
        raise MeshStateError(
            f"mesh {name!r} is up, but not as asked for now: it has {counts(wanted)}, not {counts(asked)}; "
            f"run `dlibos scale`, or `dlibos down --name {name}` first"
        )
    notice(f"mesh {name!r} was scaled since from {counts(asked)} to {counts(wanted)}, and stays so")


def _launch(directory: MeshDirectory, mesh: mesh_pb2.Mesh, options: MeshOptions, timeout: float | None) -> None:
    asked = spec_of(options)
    with host_sockets(mesh) as sockets:
        try:
            directory.create()
            mesh_key = draw_key()
            directory.write_key(mesh_key)
            directory.write_asked(asked)
            directory.write_spec(asked)
            directory.write_mesh(mesh)
            start_all(directory, mesh, sockets, mesh_key, options.broker)
            watch = Watch(directory, mesh, first=True)
            watch.started() if timeout is None else watch.ready(timeout)
        except BaseException:
            with _undisturbed():
                _clear(directory)
            raise


def draw_key() -> bytes:
    """Return a new mesh key."""
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
