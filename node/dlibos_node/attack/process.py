"""Attacks on another tile's process, by the system calls the kernel offers everybody."""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from dlibos_node.attack import kernel, machine
from dlibos_node.attack.answer import OK, Answer, Order, Step, attempt
from dlibos_node.attack.memory import LENGTH, search, secrets_in
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.memory.descriptor import APP_INDEX, partition_number
from dlibos_node.memory.layout import layout_of
from dlibos_node.memory.partition import Partition

SOMEWHERE: Final = 0x10000  # an address to ask for where the victim's are not to be seen
MOST: Final = 1 << 20  # bytes of the victim's memory that are looked through
LOOKS: Final = 200
LOOK_AGAIN: Final = 0.002  # seconds

Attack = Callable[[CompromisedTile, Order], Answer]


class Prey:
    """The honest application tile's process: its number, and where it keeps its partition, as far as can be seen."""

    def __init__(self, pid: int, number: int) -> None:
        self.pid = pid
        self.number = number
        self.looked, maps = attempt("read /proc/PID/maps", lambda: Path(f"/proc/{pid}/maps").read_text())
        found = re.search(rf"^([0-9a-f]+)-.* /memfd:dlibos-{number} ", maps or "", re.MULTILINE)
        self.start = int(found[1], 16) if found else SOMEWHERE

    @classmethod
    def of(cls, tile: CompromisedTile, order: Order) -> Prey:
        """Return the application tile that is attacked."""
        victim = tile.victim("app").tile
        return cls(order.pids[victim], partition_number(victim, APP_INDEX))

    @property
    def idle(self) -> int:
        """Where the last bytes of its partition lie, which it does not come to use."""
        return self.start + layout_of(self.number).payload - LENGTH


def ptrace(tile: CompromisedTile, order: Order) -> Answer:
    """Attach to the victim as a debugger would."""
    pid = order.pids[tile.victim("app").tile]
    step, attached = attempt("ptrace", lambda: kernel.ptrace(kernel.PTRACE_ATTACH, pid))
    if attached is not None:
        os.waitpid(pid, 0x40000000)  # __WALL
        kernel.ptrace(kernel.PTRACE_DETACH, pid)
    return Answer((step,), attached is not None)


def vm_read(tile: CompromisedTile, order: Order) -> Answer:
    """Read the victim's memory by process_vm_readv."""
    prey = Prey.of(tile, order)
    step, data = attempt("process_vm_readv", lambda: kernel.process_vm_readv(prey.pid, prey.start, MOST))
    return _read((prey.looked, step), data, order)


def vm_write(tile: CompromisedTile, order: Order) -> Answer:
    """Write the victim's memory by process_vm_writev."""
    prey, marker = Prey.of(tile, order), secrets.token_bytes(LENGTH)
    step, written = attempt("process_vm_writev", lambda: kernel.process_vm_writev(prey.pid, prey.idle, marker))
    changed = written is not None and kernel.process_vm_readv(prey.pid, prey.idle, LENGTH) == marker
    return Answer((prey.looked, step), changed)


def mem(tile: CompromisedTile, order: Order) -> Answer:
    """Read the victim's memory by /proc/PID/mem."""
    return read_mem(Prey.of(tile, order), order)


def read_mem(prey: Prey, order: Order) -> Answer:
    """Read by /proc/PID/mem where the victim has its partition."""
    step, descriptor = attempt("open /proc/PID/mem", lambda: os.open(f"/proc/{prey.pid}/mem", os.O_RDONLY))
    if descriptor is None:
        return Answer((prey.looked, step), False)
    try:
        reading, data = attempt("pread", lambda: os.pread(descriptor, MOST, prey.start))
    finally:
        os.close(descriptor)
    return _read((prey.looked, step, reading), data, order)


def _read(steps: tuple[Step, ...], data: bytes | None, order: Order) -> Answer:
    found = secrets_in(data or b"", order.canary)
    return Answer(steps, bool(found), f"{len(data or b'')} bytes read", tuple(found))


def descriptors(tile: CompromisedTile, order: Order) -> Answer:
    """Open the victim's partition by /proc/PID/fd and read it."""
    folder = Path(f"/proc/{order.pids[tile.victim('app').tile]}/fd")
    step, names = attempt("list /proc/PID/fd", lambda: list(folder.iterdir()))
    steps, found = [step], set[str]()
    for name in names or ():
        if str(name.readlink()).startswith("/memfd:dlibos-"):
            opening, file = attempt("open /proc/PID/fd", partial(name.open, "rb"))
            steps.append(opening)
            if file is not None:
                found |= secrets_in(file.read(MOST), order.canary)
                file.close()
    return Answer(tuple(steps[:4]), bool(found), read=tuple(found))


def getfd(tile: CompromisedTile, order: Order) -> Answer:
    """Take a copy of one of the victim's descriptors."""
    pid = order.pids[tile.victim("app").tile]
    step, pidfd = attempt("pidfd_open", lambda: os.pidfd_open(pid))
    if pidfd is None:
        return Answer((step,), False)
    taking, taken = attempt("pidfd_getfd", lambda: kernel.pidfd_getfd(pidfd, 0))
    for descriptor in (pidfd, taken):
        if descriptor is not None:
            os.close(descriptor)
    return Answer((step, taking), taken is not None)


def stop(tile: CompromisedTile, order: Order) -> Answer:
    """Stop the victim by a signal; it is let go on at once."""
    pid = order.pids[tile.victim("app").tile]
    step, _ = attempt("kill", lambda: os.kill(pid, signal.SIGSTOP))
    if step.result != OK:
        return Answer((step,), False)
    try:
        stopped = _comes_to(pid, "T")
    finally:
        os.kill(pid, signal.SIGCONT)
    return Answer((step,), stopped, "it stood still" if stopped else "")


def _comes_to(pid: int, state: str) -> bool:
    """Tell whether a process is in a state (proc_pid_stat(5)) before long: signals take effect when it next runs."""
    for _ in range(LOOKS):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith(state):
            return True
        time.sleep(LOOK_AGAIN)
    return False


def look(tile: CompromisedTile, order: Order) -> Answer:
    """Look through all that this tile maps for what belongs to the other domain."""
    mapped: list[Partition] = list(tile.mapped.values())
    found, total = search(mapped, order.canary)
    result = "found" if found else "absent"
    return Answer((Step("search", result),), bool(found), f"{total} bytes in {len(mapped)} partitions", tuple(found))


COMMON: Final[dict[str, Attack]] = {
    "ptrace": ptrace,
    "vm-write": vm_write,
    "getfd": getfd,
    "stop": stop,
}
READING: Final[dict[str, Attack]] = {
    "vm-read": vm_read,
    "mem": mem,
    "fds": descriptors,
    "look": look,
}
"""For those alone that may see nothing of the other domain: stack and driver tiles are trusted with what passes."""


def attacks(role: str) -> dict[str, Attack]:
    """Return the attacks of a role on processes and the machine, by name."""
    return {f"{role}-{name}": attack for name, attack in _of(role).items()}


def _of(role: str) -> dict[str, Attack]:
    common = {**COMMON, **machine.COMMON}
    return {**common, **READING, **machine.READING} if role == "app" else common
