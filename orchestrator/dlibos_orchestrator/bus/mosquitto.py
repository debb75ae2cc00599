"""`python -m dlibos_orchestrator.bus.mosquitto --dir DIR`: Mosquitto as the bus of the mesh whose directory is DIR.

It stays Mosquitto's parent, so that the process table tells what belongs to the mesh: it ends when Mosquitto does, and
Mosquitto when it does. Nothing is persistent: whoever published a retained message publishes it again.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.bus import rights, topics
from dlibos_orchestrator.errors import MachineError
from dlibos_orchestrator.model.credentials import bus_password

PROGRAM: Final = "mosquitto"
PASSWORDS: Final = "mosquitto_passwd"
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
SYSTEM_PATH: Final = "/usr/sbin:/usr/local/sbin"


def find(program: str) -> str | None:
    """Return where a program of Mosquitto is; Debian puts it where only root looks."""
    return shutil.which(program) or shutil.which(program, path=SYSTEM_PATH)


def configuration(room: Path) -> Path:
    """Return where Mosquitto's configuration is, for the socket room/sock."""
    return room / "mosquitto.conf"


def configure(room: Path, mesh: mesh_pb2.Mesh, mesh_key: bytes | None) -> None:
    """Write Mosquitto's configuration for the socket room/sock, with passwords and rights.

    MachineError when Mosquitto is not there.
    """
    if find(PROGRAM) is None or find(PASSWORDS) is None:
        raise MachineError("there is no mosquitto; apt-get install mosquitto, or use the embedded broker")
    room.mkdir(mode=0o700, exist_ok=True)
    users = [topics.ORCHESTRATOR, topics.OPERATOR, *map(topics.tile_user, range(mesh.width * mesh.height))]
    lines = _settings(room)
    if mesh_key is None:
        lines.append("allow_anonymous true")
    else:
        passwords, acl = room / "passwords", room / "acl"
        _write(passwords, [f"{user}:{bus_password(mesh_key, user)}" for user in users])
        subprocess.run([find(PASSWORDS) or PASSWORDS, "-U", str(passwords)], check=True, capture_output=True)
        _write(acl, [line for user in users for line in _rights(mesh.id, user)])
        lines += ["allow_anonymous false", f"password_file {passwords}", f"acl_file {acl}"]
    _write(configuration(room), lines)


def _settings(room: Path) -> list[str]:
    """As root Mosquitto would become a user who cannot reach the mesh's directory."""
    account = ["user root"] if os.geteuid() == 0 else []
    return [
        f"listener 0 {room / 'sock'}",
        *account,
        "persistence false",
        "log_dest stdout",
        "connection_messages false",
        f"max_packet_size {topics.MOST_BYTES}",
        "max_queued_messages 1000",
        "max_connections 1024",
    ]


def _rights(mesh_id: str, user: str) -> list[str]:
    granted = rights.rights(mesh_id, user)
    reads = [f"topic read {one}" for one in granted.read]
    return [f"user {user}", *reads, *(f"topic write {one}" for one in granted.write)]


def _write(path: Path, lines: list[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")


def run(settings: Path) -> int:
    """Run Mosquitto until it ends, or this process is told to; return its exit code."""
    parent = os.getpid()

    def die_with_parent() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before the line above
            os._exit(1)

    broker = subprocess.Popen([find(PROGRAM) or PROGRAM, "-c", str(settings)], preexec_fn=die_with_parent)  # noqa: PLW1509 - there is one thread

    def stop(_number: int, _frame: FrameType | None) -> None:
        broker.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return broker.wait()


def main() -> int:
    """Run the broker whose configuration lies in the mesh's directory; serve/ wrote it."""
    parser = argparse.ArgumentParser(description="Mosquitto as the bus of a mesh.")
    parser.add_argument("--dir", type=Path, required=True, help="the mesh's directory")
    return run(configuration(parser.parse_args().dir / "bus"))


if __name__ == "__main__":
    sys.exit(main())
