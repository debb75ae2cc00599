"""A program that becomes a tile of a role, hardened, and then tries what it may and may not do.

`attempts.py DIR TILE UID`: the mesh file lies in DIR; with UID not its own it becomes that user first. Prints one JSON
object: what was tried, and "ok" or the name of the error. What it imports, it imports before.
"""

from __future__ import annotations

import _posixsubprocess  # noqa: F401 - imported late by subprocess otherwise
import contextlib
import ctypes
import errno
import fcntl
import functools
import importlib
import json
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dlibos_node import config
from dlibos_node.hardening import profile as profiles
from dlibos_node.hardening.apply import harden
from dlibos_node.hardening.seccomp import ARCHITECTURES
from dlibos_node.hardening.syscalls import CLONE3, DENIED, LAST

LIBC = ctypes.CDLL(None, use_errno=True)
PARENT = os.getppid()
TUNSETIFF = 0x400454CA
PTRACE_SEIZE = 0x4206


def call(number: int, *arguments: int) -> None:
    padded = [ctypes.c_long(argument) for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    if LIBC.syscall(ctypes.c_long(number), *padded) == -1:
        raise OSError(ctypes.get_errno(), "")


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except ImportError:  # Python itself may lie where only its owner can read
        return "ImportError"
    return "ok"


def write(path: Path) -> None:
    draft = path.with_suffix(".new")
    draft.write_text("x")
    draft.replace(path)


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    path.unlink()


def connect(address: str | bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)


def pair() -> None:
    for end in socket.socketpair():
        end.close()


def make_socket(family: int) -> None:
    with socket.socket(family, socket.SOCK_STREAM if family in {socket.AF_INET, socket.AF_INET6} else socket.SOCK_RAW):
        pass


def tcp(action: str, port: int) -> None:
    with socket.socket(socket.AF_INET) as one:
        getattr(one, action)(("127.0.0.1", port))


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
    one = threading.Thread(target=int)
    one.start()
    one.join()


def in_thread(attempt: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(attempt).result()


def shared_memory() -> None:
    mmap.mmap(-1, 4096).close()


def processes() -> dict[str, Callable[[], object]]:
    return {
        "ptrace parent": lambda: call(101 if platform.machine() == "x86_64" else 117, PTRACE_SEIZE, PARENT),
        "read parent's memory": lambda: Path(f"/proc/{PARENT}/mem").open("rb").close(),
        "signal parent": lambda: os.kill(PARENT, 0),
        "signal group": lambda: os.killpg(0, 0),
        "signal self": lambda: os.kill(os.getpid(), 0),
        "raise": lambda: signal.raise_signal(signal.SIGCONT),
        "limit parent": lambda: resource.prlimit(PARENT, resource.RLIMIT_NOFILE),
        "fork": fork,
        "exec": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606
        "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "run": lambda: subprocess.run(["/bin/true"], check=True),
        "thread": thread,
        "fork in a thread": lambda: in_thread(fork),
        "anonymous memory": shared_memory,
        "memfd": lambda: os.memfd_create("x"),
    }


def sockets(directory: Path, own: Path, bind: int, other: int) -> dict[str, Callable[[], object]]:
    return {
        "inet": lambda: make_socket(socket.AF_INET),
        "inet6": lambda: make_socket(socket.AF_INET6),
        "netlink": lambda: make_socket(socket.AF_NETLINK),
        "packet": lambda: make_socket(socket.AF_PACKET),
        "vsock": lambda: make_socket(socket.AF_VSOCK),
        "socketpair": pair,
        "listen in own place": lambda: listen(own / "own"),
        "listen elsewhere": lambda: listen(directory / "noc" / "other"),
        "remove another's socket": (directory / "door").unlink,
        "connect to another's socket": lambda: connect(str(directory / "door")),
        "connect to an abstract socket": lambda: connect(b"\0" + str(directory).encode()),
        "bind own port": lambda: tcp("bind", bind),
        "bind another port": lambda: tcp("bind", other),
        "connect to another port": lambda: tcp("connect", other),
    }


def files(directory: Path, own: Path, status: Path) -> dict[str, Callable[[], object]]:
    return {
        "write own status": lambda: write(status),
        "write another's status": lambda: write(directory / "status" / "99" / "status.json"),
        "write in the root": lambda: write(directory / "www" / "page"),
        "make a directory": (own / "sub").mkdir,
        "make a link": lambda: (own / "link").symlink_to("/etc/passwd"),
        "read the web root": (directory / "www" / "index.html").read_text,
        "list the web root": lambda: list((directory / "www").iterdir()),
        "read the mesh file": (directory / "mesh.json").read_text,
        "read /etc/passwd": lambda: Path("/etc/passwd").read_text(),
        "list /tmp": lambda: list(Path("/tmp").iterdir()),  # noqa: S108
        "import": lambda: importlib.import_module("wave"),
        "TUNSETIFF": lambda: fcntl.ioctl(0, TUNSETIFF, bytes(40)),
        "not blocking": lambda: os.set_blocking(0, False),
    }


def denied() -> dict[str, Callable[[], object]]:
    """Every denied system call, in earnest: with arguments of 0, so that one that passed would do no harm."""
    column = ARCHITECTURES[platform.machine()][0]
    calls = {name: numbers[column] for group in DENIED.values() for name, numbers in group.items()}
    numbers = {name: number for name, number in calls.items() if number is not None}
    numbers |= {"clone3": CLONE3[column], "beyond the last": LAST + 1, "x32 getpid": 0x40000000 + 39}
    return {f"call {name}": functools.partial(call, number) for name, number in numbers.items()}


def main(directory: Path, number: int, uid: int) -> None:
    if uid != os.getuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    mesh, tile = config.load(directory / "mesh.json", number)
    own = profiles.own_places(tile, directory)
    for place in own:
        place.mkdir(parents=True, exist_ok=True)
    status = profiles.status_file(tile, directory)
    profile = profiles.profile(mesh, tile, directory)
    # What a tile may not even read of itself must be open before.
    itself = Path("/proc/self/status").open()  # noqa: SIM115 - for the whole life of the process
    outcomes = harden(profile)
    tries = {
        **processes(),
        **sockets(directory, own[-1], bind=profile.rules.bind[0] if profile.rules.bind else 0, other=9),
        **files(directory, own[-1], status),
        **denied(),
    }
    report = {name: outcome(attempt) for name, attempt in tries.items()}
    fields = dict(line.split(":\t", 1) for line in itself.read().splitlines() if ":\t" in line)
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"tried": report, "outcomes": outcomes, "fields": fields}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
