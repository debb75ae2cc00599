"""Give up every capability for good, and all ways by which a program file or user id 0 could bring one back.

Read capabilities(7) first. All of it belongs to one thread: call it while the process has no other.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Final

from dlibos_node.hardening.kernel import capset, prctl
from dlibos_node.hardening.outcome import ENFORCED, Outcome

# linux/prctl.h
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_GET_SECUREBITS: Final = 27
PR_SET_SECUREBITS: Final = 28
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
# linux/capability.h: _LINUX_CAPABILITY_VERSION_3, then effective, permitted, inheritable, for caps 0-31 and 32-63
_HEADER: Final = struct.pack("Ii", 0x20080522, 0)
_NOTHING: Final = bytes(24)
# linux/securebits.h: NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE set, KEEP_CAPS clear, each with its lock
SECUREBITS: Final = 0b11_10_11_11


def drop_capabilities() -> Outcome:
    """Empty all five sets and lock the secure bits. Raises OSError if the kernel refuses what needs no privilege."""
    privileged = _permitted(_empty_bounding_set) and _permitted(_lock_securebits)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    capset(_HEADER, _NOTHING)
    if privileged:
        return Outcome("capabilities", ENFORCED, "all sets empty, secure bits locked")
    return Outcome(
        "capabilities", ENFORCED, "none held; the bounding set stays (no CAP_SETPCAP), void under no_new_privs"
    )


def forbid_new_privileges() -> Outcome:
    """No program this process starts, and no filter it installs, gains it anything: no_new_privs, prctl(2)."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    return Outcome("no_new_privs", ENFORCED, "set")


def hide_memory() -> Outcome:
    """Keep processes without CAP_SYS_PTRACE out of this one: ptrace, /proc/PID/mem, pidfd_getfd, core dumps."""
    prctl(PR_SET_DUMPABLE, 0)
    return Outcome("not dumpable", ENFORCED, "closed to ptrace, /proc/PID/mem and pidfd_getfd of equals")


def _empty_bounding_set() -> None:
    for capability in range(64):
        try:
            held = prctl(PR_CAPBSET_READ, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # beyond the last one this kernel knows
                return
            raise
        if held:
            prctl(PR_CAPBSET_DROP, capability)


def _lock_securebits() -> None:
    if prctl(PR_GET_SECUREBITS) & SECUREBITS != SECUREBITS:
        prctl(PR_SET_SECUREBITS, SECUREBITS)


def _permitted(step: Callable[[], None]) -> bool:
    """Run a step that needs CAP_SETPCAP; tell whether this process had it."""
    try:
        step()
    except PermissionError:
        return False
    return True
