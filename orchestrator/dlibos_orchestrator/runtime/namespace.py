"""Network namespaces without privilege where the kernel permits it; by ctypes, as Python 3.11 has no os.unshare.

Read namespaces(7) and user_namespaces(7) first. `can_have_tap` tries for real, in a child, so the caller keeps its own.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dlibos_orchestrator.model.desired import MTU, PEER_ADDRESS, PEER_MAC
from dlibos_orchestrator.runtime import interface

CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Availability:
    """Whether something can be had; if not, why, and what to do about it."""

    ok: bool
    reason: str = ""
    fix: str = ""

    def __bool__(self) -> bool:
        return self.ok


def enter_fresh(user_namespace: bool | None = None) -> None:
    """Move this process into a network namespace of its own.

    `user_namespace`: whether to make a user namespace first; None tries without (root) and then with. The caller must
    have one thread (unshare(2), EINVAL). Raises OSError.
    """
    if user_namespace is None:
        try:
            _unshare(CLONE_NEWNET)
        except PermissionError:
            enter_fresh(user_namespace=True)
    elif user_namespace:
        uid, gid = os.geteuid(), os.getegid()
        _unshare(CLONE_NEWUSER | CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")  # user_namespaces(7): before gid_map, without CAP_SETGID
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    else:
        _unshare(CLONE_NEWNET)


def join(pid: int) -> None:
    """Move this process into the network namespace of `pid`, through its user namespace where it is another one."""
    if not _same_namespace(pid, "user"):
        _setns(pid, "user", CLONE_NEWUSER)
    _setns(pid, "net", CLONE_NEWNET)


def can_have_tap() -> Availability:
    """Tell whether a TAP device can be made here, by making one in a namespace of a child process that then ends."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _probe(writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    reason, _, fix = (said or "the trial ended without a word\nrun `dlibos doctor` again").partition("\n")
    return Availability(ok=True) if reason == "ok" else Availability(False, reason, fix)


def _probe(writer: int) -> None:
    """Runs in the child and never returns; writes "ok", or the reason and the fix."""
    try:
        reason, fix = why_no_tap()
        os.write(writer, f"{reason or 'ok'}\n{fix}".encode())
    finally:
        os._exit(0)


def why_no_tap() -> tuple[str, str]:
    """Enter a fresh namespace and open a TAP device; return the reason and the fix, both empty when it worked."""
    try:
        enter_fresh()
    except OSError as error:
        return (
            f"no network namespace: {error.strerror}",
            "run as root, or permit user namespaces: sysctl -w user.max_user_namespaces=10000 "
            "(Debian: kernel.unprivileged_userns_clone=1; Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)",
        )
    try:
        os.close(interface.make_tap(interface.TAP_NAME, PEER_MAC, PEER_ADDRESS, MTU))
    except FileNotFoundError:
        return "/dev/net/tun does not exist", "modprobe tun; in a container: --device /dev/net/tun"
    except PermissionError:
        return "/dev/net/tun may not be opened", "run as root, or: chmod 0666 /dev/net/tun"
    except OSError as error:
        return f"the kernel refuses a TAP device: {error.strerror}", "in a container: --cap-add NET_ADMIN"
    return "", ""


def _same_namespace(pid: int, kind: str) -> bool:
    own, other = Path(f"/proc/self/ns/{kind}").stat(), Path(f"/proc/{pid}/ns/{kind}").stat()
    return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        raise _last_error("unshare")


def _setns(pid: int, kind: str, flag: int) -> None:
    descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, flag) != 0:
            raise _last_error(f"setns into the {kind} namespace of process {pid}")
    finally:
        os.close(descriptor)


def _last_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
