"""The filter, call by call, on the interpreter; and the numbers it goes by, against the kernel's headers."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import termios
from collections.abc import Iterator

import pytest

from dlibos_node.hardening.seccomp import ABSENT, ALLOW, ARCHITECTURES, REFUSE, build_filter, checks
from dlibos_node.hardening.syscalls import CHECKED, CLONE3, DENIED, LAST, SECCOMP, Numbers
from tests.hardening.machine import run

PID = 4711
TUNSETIFF, TUNSETQUEUE, TIOCSTI = 0x400454CA, 0x400454D9, 0x5412
CLONE_THREAD, CLONE_VM, CLONE_NEWUSER = 0x10000, 0x100, 0x10000000
GENERIC = ["-D__BITS_PER_LONG=64", "-D__ARCH_WANT_SYS_CLONE3", "-D__ARCH_WANT_MEMFD_SECRET"]
HEADERS = {"x86_64": ("asm/unistd_64.h", []), "aarch64": ("asm-generic/unistd.h", GENERIC)}


@pytest.fixture(params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(machine: str, name: str, *arguments: int, inet: bool = False, queue: bool = False) -> int:
    column, architecture = ARCHITECTURES[machine]
    return run(build_filter(machine, PID, inet, queue), CHECKED[name][column], architecture, arguments)


def numbered() -> Iterator[tuple[str, Numbers]]:
    for group in DENIED.values():
        yield from group.items()
    yield from CHECKED.items()
    yield from (("clone3", CLONE3), ("seccomp", SECCOMP))


def test_exactly_what_is_denied_is_refused(machine: str) -> None:
    column, architecture = ARCHITECTURES[machine]
    program = build_filter(machine, PID, inet=False)
    denied = {numbers[column] for group in DENIED.values() for numbers in group.values()} - {None}
    checked = {numbers[column] for numbers in CHECKED.values()}
    answers = {number: run(program, number, architecture) for number in range(LAST + 1)}
    assert {number for number, answer in answers.items() if answer == REFUSE} - checked == denied
    assert {number for number, answer in answers.items() if answer == ABSENT} == {CLONE3[column]}
    assert set(answers.values()) == {ALLOW, REFUSE, ABSENT}


def test_what_was_not_weighed_is_not_there(machine: str) -> None:
    _, architecture = ARCHITECTURES[machine]
    program = build_filter(machine, PID, inet=False)
    x32 = 0x40000000
    assert {run(program, number, architecture) for number in (LAST + 1, x32, x32 + 39, 0xFFFFFFFF)} == {ABSENT}


@pytest.mark.parametrize("other", [0x40000003, 0x40000028, 0])  # i386, 32-bit ARM, none
def test_the_calls_of_another_architecture_are_refused(machine: str, other: int) -> None:
    program = build_filter(machine, PID, inet=False)
    assert {run(program, number, other) for number in range(LAST + 2)} == {REFUSE}


@pytest.mark.parametrize("name", ["kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"])
def test_signals_go_to_oneself_only(machine: str, name: str) -> None:
    assert ask(machine, name, PID, PID, 15) == ALLOW
    everybody, group, other = 0xFFFFFFFF, 0, PID + 1
    assert {ask(machine, name, pid, pid, 9) for pid in (everybody, group, other)} == {REFUSE}


def test_limits_are_ones_own(machine: str) -> None:
    assert [ask(machine, "prlimit64", pid) for pid in (0, PID, PID + 1)] == [ALLOW, ALLOW, REFUSE]


def test_threads_are_made_and_processes_are_not(machine: str) -> None:
    assert ask(machine, "clone", CLONE_VM | CLONE_THREAD) == ALLOW
    assert {ask(machine, "clone", flags) for flags in (17, CLONE_VM | 17, CLONE_NEWUSER)} == {REFUSE}


@pytest.mark.parametrize("name", ["socket", "socketpair"])
def test_families_of_sockets(machine: str, name: str) -> None:
    internet = (socket.AF_INET, socket.AF_INET6)
    assert ask(machine, name, socket.AF_UNIX) == ALLOW
    assert {ask(machine, name, family) for family in internet} == {REFUSE}
    assert {ask(machine, name, family, inet=True) for family in internet} == {ALLOW}
    others = set(range(64)) - {socket.AF_UNIX, *internet}
    assert {ask(machine, name, family, inet=True) for family in others} == {REFUSE}


def test_ioctls(machine: str) -> None:
    assert {ask(machine, "ioctl", 3, request) for request in (termios.FIONBIO, termios.TCGETS)} == {ALLOW}
    assert {ask(machine, "ioctl", 3, request) for request in (TUNSETIFF, TUNSETQUEUE, TIOCSTI)} == {REFUSE}


def test_who_owns_a_queue_may_attach_it_and_open_none(machine: str) -> None:
    asked = (TUNSETQUEUE, TUNSETIFF, TIOCSTI, termios.FIONREAD)
    assert [ask(machine, "ioctl", 3, request, queue=True) for request in asked] == [ALLOW, REFUSE, REFUSE, ALLOW]


def test_every_checked_call_has_a_check() -> None:
    assert checks(PID, inet=False).keys() == CHECKED.keys()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to read the kernel's headers with")
def test_numbers_are_the_headers(machine: str) -> None:
    header, flags = HEADERS[machine]
    text = subprocess.run(
        ["cc", "-E", "-dM", *flags, "-x", "c", "-"],
        input=f"#include <{header}>\n", capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    known = {name: int(number) for name, number in re.findall(r"#define __NR\w*?_(\w+) (\d+)$", text, re.MULTILINE)}
    if "ptrace" not in known:
        pytest.skip(f"no {header}: apt-get install linux-libc-dev")
    column = ARCHITECTURES[machine][0]
    ours = {name: numbers[column] for name, numbers in numbered()}
    assert {name: number for name, number in ours.items() if name in known and known[name] != number} == {}
    newer_than_the_headers = {name for name, number in ours.items() if number is not None} - known.keys()
    assert newer_than_the_headers <= {"fchmodat2", "open_tree_attr", "removexattrat", "setxattrat"}
