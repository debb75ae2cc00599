"""The programs a benchmark runs, where they are, and the network namespace they are run in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dlibos_orchestrator.errors import MachineError

PACKAGES: Final = {  # program: Debian package
    "wrk": "wrk",
    "nginx": "nginx-light",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}
SYSTEM_PATH: Final = "/usr/sbin:/sbin"  # where Debian has nginx and ip, and a user's PATH does not look


def require_all() -> None:
    """Raise MachineError, with the command that installs them, when programs are missing."""
    missing = [program for program in PACKAGES if _which(program) is None]
    if missing:
        packages = " ".join(dict.fromkeys(PACKAGES[program] for program in missing))
        raise MachineError(f"bench needs {', '.join(missing)}, not found here; run `apt-get install {packages}`")


def path_of(program: str) -> str:
    """Return where a program of PACKAGES is; MachineError when it is nowhere."""
    if (found := _which(program)) is None:
        raise MachineError(f"{program} is not found; run `apt-get install {PACKAGES[program]}`")
    return found


def inside(pid: int, kinds: Sequence[str] = ("net",)) -> list[str]:
    """Return the words that, before a command, run it in namespaces of process `pid`; none when it is in them already.

    `kinds` as in /proc/PID/ns; the user namespace is added where it is another one, for the privilege to enter.
    """
    other = [f"--{kind}" for kind in kinds if not _same_namespace(pid, kind)]
    if not _same_namespace(pid, "user"):
        other += ["--user", "--preserve-credentials"]
    return [path_of("nsenter"), f"--target={pid}", *other, "--"] if other else []


def first_line(command: Sequence[str]) -> str:
    """Return the first line a program prints, as its version, on either output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0].strip()


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")


def _same_namespace(pid: int, kind: str) -> bool:
    return Path(f"/proc/self/ns/{kind}").stat().st_ino == Path(f"/proc/{pid}/ns/{kind}").stat().st_ino
