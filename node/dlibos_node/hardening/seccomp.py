"""The system calls a tile may make: a BPF filter on all of its threads, which none of them can take off again.

Read seccomp(2) and syscalls.py first. Refused calls get EPERM, unknown ones ENOSYS, so that libraries fall back. The
filter is a plain chain of comparisons: kernels from 5.11 on remember per number which calls always pass, and run it for
those alone whose arguments it looks at.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import termios
from typing import Final, NamedTuple

from dlibos_node.errors import HardeningError
from dlibos_node.hardening import bpf
from dlibos_node.hardening.bpf import EQUAL, GREATER, SET, Assembler
from dlibos_node.hardening.kernel import syscall
from dlibos_node.hardening.outcome import ENFORCED, NOT_OFFERED, Outcome
from dlibos_node.hardening.syscalls import CHECKED, CLONE3, DENIED, LAST, SECCOMP

# linux/seccomp.h
SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_FILTER_FLAG_TSYNC: Final = 1
ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000
REFUSE: Final = ERRNO | errno.EPERM
ABSENT: Final = ERRNO | errno.ENOSYS
# linux/audit.h: AUDIT_ARCH_*, in the order of syscalls.Numbers
ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
CLONE_THREAD: Final = 0x00010000  # linux/sched.h
# What Python asks of descriptors: not blocking, close on exec, bytes waiting, whether it is a terminal.
IOCTLS: Final = (termios.FIONBIO, termios.FIOCLEX, termios.FIONCLEX, termios.FIONREAD, termios.TCGETS)
TUNSETQUEUE: Final = 0x400454D9  # linux/if_tun.h: attach or detach a TAP queue that one holds; it opens nothing


class Check(NamedTuple):
    """Passes when argument `place` equals one of `values`, or has a bit of `bits`. 32 bits count, as for the kernel."""

    place: int
    values: tuple[int, ...] = ()
    bits: int = 0


def checks(pid: int, inet: bool, queue: bool = False) -> dict[str, Check]:
    """Return what the calls of syscalls.CHECKED may be asked for by process `pid`; `queue`: it owns a TAP queue."""
    families = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6) if inet else (socket.AF_UNIX,)
    myself = Check(0, (pid,))
    return {
        "clone": Check(0, bits=CLONE_THREAD),
        "ioctl": Check(1, (*IOCTLS, TUNSETQUEUE) if queue else IOCTLS),
        "kill": myself,
        "tgkill": myself,
        "rt_sigqueueinfo": myself,
        "rt_tgsigqueueinfo": myself,
        "prlimit64": Check(0, (0, pid)),
        "socket": Check(0, families),
        "socketpair": Check(0, families),
    }


def build_filter(machine: str, pid: int, inet: bool, queue: bool = False) -> bytes:
    """Return the filter as struct sock_filter[]; whether it lets make internet sockets, and attach a TAP queue."""
    column, architecture = ARCHITECTURES[machine]
    program = Assembler()
    program.load(bpf.ARCHITECTURE)
    program.jump(EQUAL, architecture, otherwise="refuse")
    program.load(bpf.NUMBER)
    program.jump(GREATER, LAST, then="absent")  # x32's numbers too: they begin at 0x40000000
    program.jump(EQUAL, CLONE3[column], then="absent")
    for group in DENIED.values():
        for numbers in group.values():
            if (number := numbers[column]) is not None:
                program.jump(EQUAL, number, then="refuse")
    _add_checks(program, column, checks(pid, inet, queue))
    return program.assemble()


def _add_checks(program: Assembler, column: int, wanted: dict[str, Check]) -> None:
    """Let calls with checked arguments branch out, all others pass; end with the three answers."""
    for name in wanted:
        program.jump(EQUAL, CHECKED[name][column], then=name)
    program.answer(ALLOW)
    for name, check in wanted.items():
        program.label(name)
        program.load(bpf.argument(check.place))
        for value in check.values:
            program.jump(EQUAL, value, then="allow")
        program.jump(SET, check.bits, then="allow", otherwise="refuse")
    for label, value in (("allow", ALLOW), ("refuse", REFUSE), ("absent", ABSENT)):
        program.label(label)
        program.answer(value)


class _Program(ctypes.Structure):
    """struct sock_fprog: how many instructions, and where."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(inet: bool, queue: bool) -> Outcome:
    """Install the filter on every thread of this process, which must have no_new_privs set.

    Raises HardeningError when a thread cannot be brought under it, OSError when the kernel refuses it.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        return _not_offered(f"no table of system calls for {machine}")
    code = build_filter(machine, os.getpid(), inet, queue)
    program = _Program(len(code) // 8, code)
    number = SECCOMP[ARCHITECTURES[machine][0]]
    try:
        thread = syscall("seccomp", number, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program))
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EINVAL}:
            return _not_offered("this kernel has no seccomp filters")
        raise
    if thread:
        raise HardeningError(f"seccomp: thread {thread} has a filter of its own: start tiles without another filter")
    calls = sum(len(group) for group in DENIED.values())
    return Outcome("seccomp", ENFORCED, f"{calls} system calls refused, {len(CHECKED)} checked, on all threads")


def _not_offered(why: str) -> Outcome:
    return Outcome("seccomp", NOT_OFFERED, why, "run on x86_64 or aarch64, Linux 3.17 or later, CONFIG_SECCOMP_FILTER")
