"""The files, TCP ports, abstract sockets and processes a tile may reach, by Landlock; no privilege needed.

Read Documentation/userspace-api/landlock.rst of the kernel first. What is open already stays usable: rules bind what is
opened later. A domain belongs to the thread that enters it and to those it starts (LANDLOCK_RESTRICT_SELF_TSYNC is of
ABI 8), so it must be entered while the process has one thread. Connecting to a unix socket that has a path is not
covered by any ABI up to 7.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dlibos_node.hardening.kernel import syscall
from dlibos_node.hardening.outcome import ENFORCED, NOT_OFFERED, Outcome

# The same numbers on all architectures.
CREATE_RULESET: Final = 444
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
# linux/landlock.h
CREATE_RULESET_VERSION: Final = 1
RULE_PATH_BENEATH: Final = 1
RULE_NET_PORT: Final = 2
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
REMOVE_FILE: Final = 1 << 5
MAKE_REG: Final = 1 << 8
MAKE_SOCK: Final = 1 << 9
TRUNCATE: Final = 1 << 14
BIND_TCP: Final = 1
CONNECT_TCP: Final = 2

READ: Final = READ_FILE | READ_DIR
OWN: Final = WRITE_FILE | REMOVE_FILE | MAKE_REG | MAKE_SOCK | TRUNCATE
"""To replace files by renaming, and to listen at sockets; not to read, nor to make directories or links."""


class Coverage(NamedTuple):
    """What an ABI added: masks of rights in the fields of struct landlock_ruleset_attr, and the words for it."""

    abi: int
    what: str
    files: int = 0
    ports: int = 0
    scope: int = 0


COVERAGE: Final = (
    Coverage(1, "files", files=(1 << 13) - 1),
    Coverage(2, "links and renames across directories", files=1 << 13),
    Coverage(3, "truncation", files=TRUNCATE),
    Coverage(4, "TCP ports", ports=BIND_TCP | CONNECT_TCP),
    Coverage(5, "device ioctls", files=1 << 15),
    Coverage(6, "abstract sockets and signals", scope=0b11),
)


class Rules(NamedTuple):
    """Paths to read, directories in which to make and remove files and sockets, TCP ports.

    A path that is missing or out of reach is left out.
    """

    read: Sequence[Path] = ()
    own: Sequence[Path] = ()
    bind: Sequence[int] = ()
    connect: Sequence[int] = ()


def abi() -> int:
    """Return the ABI of this kernel. Raises OSError where Landlock is missing or off."""
    return syscall("landlock", CREATE_RULESET, 0, 0, CREATE_RULESET_VERSION)


def restrict(rules: Rules) -> Outcome:
    """Confine this thread, and those it will start, to `rules`, as far as this kernel can. Needs no_new_privs.

    Raises OSError when the kernel has Landlock and yet refuses.
    """
    try:
        version = abi()
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}:
            return _not_offered(error)
        raise
    ruleset = _create(version)
    try:
        _add(ruleset, version, rules)
        syscall("landlock", RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return _enforced(version)


def _mask(version: int, field: str) -> int:
    mask = 0
    for coverage in COVERAGE:
        if coverage.abi <= version:
            mask |= getattr(coverage, field)
    return mask


def _create(version: int) -> int:
    """Make a ruleset that handles all this ABI has. The structure grew at its end: zeros there suit older kernels."""
    attributes = struct.pack("=QQQ", *(_mask(version, field) for field in ("files", "ports", "scope")))
    return syscall("landlock", CREATE_RULESET, attributes, len(attributes), 0)


def _add(ruleset: int, version: int, rules: Rules) -> None:
    for paths, rights in ((rules.read, READ), (rules.own, OWN)):
        for path in paths:
            _add_path(ruleset, path, rights & _mask(version, "files"))
    if _mask(version, "ports"):
        for ports, right in ((rules.bind, BIND_TCP), (rules.connect, CONNECT_TCP)):
            for port in ports:
                syscall("landlock", ADD_RULE, ruleset, RULE_NET_PORT, struct.pack("=QQ", right, port), 0)


def _add_path(ruleset: int, path: Path, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # what cannot be reached needs no rule
        return
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights &= READ_FILE | WRITE_FILE | TRUNCATE
        syscall("landlock", ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0)
    finally:
        os.close(beneath)


def _enforced(version: int) -> Outcome:
    bound = ", ".join(coverage.what for coverage in COVERAGE if coverage.abi <= version)
    missing = ", ".join(coverage.what for coverage in COVERAGE if coverage.abi > version)
    rest = f"; not bound by this kernel: {missing}" if missing else ""
    return Outcome("landlock", ENFORCED, f"ABI {version}: {bound}{rest}")


def _not_offered(error: OSError) -> Outcome:
    why = {errno.ENOSYS: "not in this kernel", errno.EOPNOTSUPP: "switched off at boot"}
    detail = why.get(error.errno or 0, "refused by the container's own filter")
    return Outcome("landlock", NOT_OFFERED, detail, "Linux 5.13 or later, booted with landlock in lsm=")
