"""The directory of a mesh: what is wanted (mesh.json), what the tiles say (status/), their sockets and logs.

BASE/NAME.lock     held while `up` or `down` works on the mesh
BASE/NAME/         mode 0700, gone after `down`
  mesh.json        message Mesh: what each tile is to be now; the orchestrator's to write, once `up` has made it
  spec.json        message Spec: what the user wants of it now; likewise
  asked.json       message Spec: what `up` was asked for
  mesh.key         32 bytes, the root of all credentials; tiles are kept from it by Landlock
  bus/sock         where the MQTT broker listens
  status/T/status.json  message TileStatus; tile T makes the directory and is alone in it
  log/P.log        what process P says
  noc/T/sock mem/T/sock nic.sock
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from dlibos_orchestrator.errors import MachineError, MeshStateError
from dlibos_orchestrator.model.credentials import KEY
from dlibos_orchestrator.model.options import MAX_SIDE

SOCKET_PATH_LIMIT: Final = 108  # bytes of sun_path, unix(7), with the closing zero
LOCK_PATIENCE: Final = 10.0  # seconds; longer than the longest `down`

M = TypeVar("M", bound=Message)


class MeshDirectory:
    """The files of one mesh at `path`."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.mesh_file: Final = path / "mesh.json"
        self.spec_file: Final = path / "spec.json"
        self.asked_file: Final = path / "asked.json"
        self.key_file: Final = path / "mesh.key"
        self.bus: Final = path / "bus" / "sock"

    def create(self) -> None:
        """Make the directory and its rooms, for the owner alone. `check_length` comes before the first of it exists."""
        self.path.mkdir(mode=0o700)
        for room in ("status", "log", "noc", "mem", "bus"):
            (self.path / room).mkdir(mode=0o700)

    def check_length(self) -> None:
        """Raise MachineError when a socket's path would be too long."""
        longest = len(os.fsencode(self.path / "mem" / str(MAX_SIDE * MAX_SIDE) / "sock"))
        if longest >= SOCKET_PATH_LIMIT:
            raise MachineError(
                f"{self.path} is too long for unix sockets ({longest} of {SOCKET_PATH_LIMIT - 1} bytes); "
                "set DLIBOS_RUNTIME_DIR to a shorter directory"
            )

    def write_mesh(self, mesh: mesh_pb2.Mesh) -> None:
        """Write the desired state in one step: a reader sees all of it or nothing."""
        self._write(self.mesh_file, mesh)

    def read_mesh(self) -> mesh_pb2.Mesh:
        """Return the desired state; MeshStateError when there is none or it is unreadable."""
        return self._read(self.mesh_file, mesh_pb2.Mesh())

    def write_spec(self, spec: orchestrator_pb2.Spec) -> None:
        """Write what the user wants of the mesh from now on, in one step."""
        self._write(self.spec_file, spec)

    def read_spec(self) -> orchestrator_pb2.Spec:
        """Return what the user wants of the mesh now; MeshStateError as for `read_mesh`."""
        return self._read(self.spec_file, orchestrator_pb2.Spec())

    def write_asked(self, spec: orchestrator_pb2.Spec) -> None:
        """Keep what `up` was asked for, to tell it from what was changed later."""
        self._write(self.asked_file, spec)

    def read_asked(self) -> orchestrator_pb2.Spec:
        """Return what `up` was asked for; MeshStateError as for `read_mesh`."""
        return self._read(self.asked_file, orchestrator_pb2.Spec())

    def write_key(self, key: bytes) -> None:
        """Write the mesh key, for its owner's eyes alone from the first moment on."""
        descriptor = os.open(self.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)

    def read_key(self) -> bytes:
        """Return the mesh key; MeshStateError when there is none."""
        try:
            key = self.key_file.read_bytes()
        except OSError as error:
            raise self._unreadable(self.key_file, error) from error
        if len(key) != KEY:
            raise self._unreadable(self.key_file, f"it has {len(key)} bytes, not {KEY}")
        return key

    def _write(self, target: Path, message: Message) -> None:
        draft = target.with_suffix(".new")
        draft.write_text(json_format.MessageToJson(message))
        draft.replace(target)

    def _read(self, source: Path, message: M) -> M:
        try:
            return json_format.Parse(source.read_text(), message)
        except (OSError, json_format.ParseError, UnicodeDecodeError) as error:
            raise self._unreadable(source, error) from error

    def _unreadable(self, source: Path, why: object) -> MeshStateError:
        return MeshStateError(f"{source} cannot be read ({why}); run `dlibos down --name {self.path.name}`")

    def read_status(self, tile: int) -> mesh_pb2.TileStatus | None:
        """Return what a tile says of itself; None until it has said something."""
        try:
            text = (self.path / "status" / str(tile) / "status.json").read_text()
            return json_format.Parse(text, mesh_pb2.TileStatus())
        except (OSError, json_format.ParseError, UnicodeDecodeError):
            return None

    def log_file(self, process: str) -> Path:
        """Return where process `process` ("keeper", "tile-3") writes what it has to say."""
        return self.path / "log" / f"{process}.log"


def base_directory() -> Path:
    """Return the directory of all meshes of this user."""
    if own := os.environ.get("DLIBOS_RUNTIME_DIR"):
        return Path(own).absolute()
    if (session := os.environ.get("XDG_RUNTIME_DIR")) and _is_ours(Path(session)):
        return Path(session).absolute() / "dlibos"
    return Path("/tmp") / f"dlibos-{os.getuid()}"  # noqa: S108 - owner and mode are checked before use


def _is_ours(session: Path) -> bool:
    """After `su` or `sudo` the variable may still name another user's directory."""
    try:
        return session.stat().st_uid == os.geteuid()
    except OSError:
        return False


def mesh_directory(name: str) -> MeshDirectory:
    """Return the directory of the mesh `name`, which need not exist."""
    return MeshDirectory(base_directory() / name)


def make_base() -> Path:
    """Make the directory of all meshes; refuse one that somebody else could have prepared."""
    base = base_directory()
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = base.lstat()
    except OSError as error:
        raise MachineError(f"{base}: {error.strerror}; set DLIBOS_RUNTIME_DIR to a directory of yours") from error
    if base.is_symlink() or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise MachineError(
            f"{base} is not a directory that only you can write; set DLIBOS_RUNTIME_DIR to one that is (mode 0700)"
        )
    return base


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep every other `up` and `down` away from the mesh `name`; MeshStateError when one stays too long."""
    path = make_base() / f"{name}.lock"
    descriptor = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while still held: whoever waits sees that its file is no longer the one
        os.close(descriptor)


def _acquire(path: Path) -> int:
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if _lock(descriptor) and _is_current(descriptor, path):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise MeshStateError(
                f"another `dlibos up` or `dlibos down` works on mesh {path.stem!r}; try again after it"
            )
        time.sleep(0.05)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
