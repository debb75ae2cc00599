"""Attacks on the machine: programs, devices, sockets and files that a tile has no use for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dlibos_node.attack.answer import Answer, Order, Step, attempt
from dlibos_node.attack.memory import secrets_in
from dlibos_node.attack.tile import CompromisedTile

ETH_P_ALL: Final = 3  # linux/if_ether.h

Attack = Callable[[CompromisedTile, Order], Answer]


def execute(tile: CompromisedTile, order: Order) -> Answer:
    """Start a shell."""
    del tile, order
    step, pid = attempt("posix_spawn", lambda: os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {}))
    if pid is None:
        return Answer((step,), False)
    return Answer((step,), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7)


def replace(tile: CompromisedTile, order: Order) -> Answer:
    """Become another program: one that is not there, so that a kernel that lets the call through says ENOENT."""
    del tile, order
    step, _ = attempt("execve", lambda: os.execve("/nowhere/sh", ["sh"], {}))  # noqa: S606 - that is the attack
    return Answer((step,), step.result == "ENOENT", "the call was let through" if step.result == "ENOENT" else "")


def tun(tile: CompromisedTile, order: Order) -> Answer:
    """Open the device by which network interfaces are made."""
    del tile, order
    return _open("open /dev/net/tun", lambda: os.open("/dev/net/tun", os.O_RDWR))


def packet(tile: CompromisedTile, order: Order) -> Answer:
    """Open a socket that sends and hears whole frames."""
    del tile, order
    return _open("socket AF_PACKET", lambda: _socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))


def internet(tile: CompromisedTile, order: Order) -> Answer:
    """Open an ordinary internet socket, to carry off what was found or to reach another server."""
    del tile, order
    return _open("socket AF_INET", lambda: _socket(socket.AF_INET, socket.SOCK_STREAM, 0))


def _socket(family: int, kind: int, protocol: int) -> int:
    return socket.socket(family, kind, protocol).detach()


def _open(what: str, call: Callable[[], int]) -> Answer:
    step, descriptor = attempt(what, call)
    if descriptor is not None:
        os.close(descriptor)
    return Answer((step,), descriptor is not None)


def status(tile: CompromisedTile, order: Order) -> Answer:
    """Speak for another tile to whoever reads its status."""
    del tile
    target = Path(order.status)
    step, descriptor = attempt("open the status file", lambda: os.open(target, os.O_RDWR))
    if descriptor is None:
        return Answer((step,), False)
    with os.fdopen(descriptor, "r+b") as file:
        before = file.read()
        os.pwrite(file.fileno(), b"{", 0)
        os.pwrite(file.fileno(), before, 0)
    return Answer((step, Step("pwrite", "OK")), True)


def deface(tile: CompromisedTile, order: Order) -> Answer:
    """Put a file among those that the other domain serves; it is taken away again."""
    del tile
    target = Path(order.root) / "defaced.html"
    step, descriptor = attempt("create a file", lambda: os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    if descriptor is not None:
        os.close(descriptor)
        target.unlink()
    return Answer((step,), descriptor is not None)


def read_files(tile: CompromisedTile, order: Order) -> Answer:
    """Read the files of the other domain where they lie."""
    del tile
    step, names = attempt("list the files", lambda: list(Path(order.root).iterdir()))
    steps, found = [step], set[str]()
    for name in names or ():
        reading, data = attempt("read a file", name.read_bytes)
        steps.append(reading)
        found |= secrets_in(data or b"", order.canary)
    return Answer(tuple(steps), bool(found), read=tuple(found))


COMMON: Final[dict[str, Attack]] = {
    "exec": execute,
    "execve": replace,
    "tun": tun,
    "packet": packet,
    "inet": internet,
    "status": status,
    "deface": deface,
}
READING: Final[dict[str, Attack]] = {"read-files": read_files}
"""For those alone that may see nothing of the other domain."""
