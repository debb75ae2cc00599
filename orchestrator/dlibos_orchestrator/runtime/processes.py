"""Processes of a mesh: started detached, found again by their command line, ended by process id.

No file says which processes belong to a mesh: the process table does. A process is the mesh's if its argument vector
runs one of our modules with `--dir` and exactly the mesh's directory, and it is ours by user id. So `down` finds
everything, whenever the launcher died.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

TILE_MODULE: Final = "dlibos_node"
KEEPER_MODULE: Final = "dlibos_orchestrator.runtime.keeper"
PUBLISHER_MODULE: Final = "dlibos_orchestrator.runtime.publisher"
ORCHESTRATOR_MODULE: Final = "dlibos_orchestrator.serve"
NURSERY_MODULE: Final = "dlibos_node.nursery"
# What `dlibos attack` runs besides (attack/): tiles in the attacker's hands, a process that is no tile, clients.
COMPROMISED_MODULE: Final = "dlibos_node.attack"
OUTSIDER_MODULE: Final = "dlibos_node.attack.outsider"
CLIENTS_MODULE: Final = "dlibos_orchestrator.attack.clients"
WITNESS_MODULE: Final = "dlibos_orchestrator.bench.witness"
BROKER_MODULE: Final = "dlibos_orchestrator.bus.mosquitto"
MODULES: Final = (
    TILE_MODULE,
    KEEPER_MODULE,
    PUBLISHER_MODULE,
    ORCHESTRATOR_MODULE,
    NURSERY_MODULE,
    COMPROMISED_MODULE,
    OUTSIDER_MODULE,
    CLIENTS_MODULE,
    WITNESS_MODULE,
    BROKER_MODULE,
)
STARTERS: Final = (ORCHESTRATOR_MODULE, NURSERY_MODULE)
GRACE: Final = 3.0  # seconds between SIGTERM and SIGKILL
KILLED: Final = 5.0  # seconds within which a killed process has gone, however busy the machine
POLL: Final = 0.02  # seconds


class MeshProcess(NamedTuple):
    """A running process of a mesh. `tile` is None for those that are no tile, `incarnation` 0 where none was given."""

    pid: int
    module: str
    directory: str
    tile: int | None
    incarnation: int = 0


def spawn(module: str, directory: Path, arguments: Sequence[str], log: Path, inherited: Sequence[int] = ()) -> int:
    """Start `python -m module --dir directory arguments...` in a session of its own; return its process id.

    It outlives the caller. Input is /dev/null; output goes to `log`; the descriptors `inherited` keep their numbers.
    """
    # -P: whatever lies in the caller's directory must not shadow a module.
    argv = [sys.executable, "-P", "-m", module, "--dir", str(directory), *arguments]
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        # Onto itself: it stays open in this child and closes on exec in any other (POSIX.1-2024; glibc since 2.29).
        *((os.POSIX_SPAWN_DUP2, descriptor, descriptor) for descriptor in inherited),
    ]
    pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=files, setsid=True)
    _await_arguments(pid)
    return pid


def _await_arguments(pid: int) -> None:
    """posix_spawn returns a moment before the kernel shows the new argument vector: until then `scan` is blind."""
    line = Path(f"/proc/{pid}/cmdline")
    while not line.read_bytes() and not _has_ended(pid):
        time.sleep(0.001)


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def scan(directory: Path | None = None) -> list[MeshProcess]:
    """Return the running processes of the mesh at `directory`, or of all meshes of this user."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (process := _read(entry)) is not None:
            found.append(process)
    return sorted(p for p in found if directory is None or p.directory == str(directory))


def _read(entry: Path) -> MeshProcess | None:
    try:
        argv = (entry / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
        if "--dir" not in argv or entry.stat().st_uid != os.geteuid():
            return None
    except OSError:  # it ended meanwhile
        return None
    return parse_argv(int(entry.name), argv)


def parse_argv(pid: int, argv: Sequence[str]) -> MeshProcess | None:
    """Return the mesh process that an argument vector stands for, if it does."""
    module, directory = _value(argv, "-m"), _value(argv, "--dir")
    if module not in MODULES or directory is None:
        return None
    return MeshProcess(pid, module, directory, _number(argv, "--tile"), _number(argv, "--incarnation") or 0)


def _number(argv: Sequence[str], flag: str) -> int | None:
    text = _value(argv, flag)
    return int(text) if text is not None and text.isdecimal() else None


def _value(argv: Sequence[str], flag: str) -> str | None:
    if flag not in argv[:-1]:
        return None
    return argv[argv.index(flag) + 1]


def stop_all(directory: Path) -> list[MeshProcess]:
    """End all processes of the mesh: SIGTERM, then SIGKILL. Return those that are still there (none, normally).

    Those that start others end first: the orchestrator would heal what is being ended.
    """
    return _stop(directory, STARTERS) or _stop(directory, MODULES)


def _stop(directory: Path, modules: Collection[str]) -> list[MeshProcess]:
    waiting = _signal_until_gone(directory, modules, signal.SIGTERM, GRACE)
    if waiting:
        waiting = _signal_until_gone(directory, modules, signal.SIGKILL, KILLED)
    return waiting


def _signal_until_gone(
    directory: Path, modules: Collection[str], number: signal.Signals, patience: float
) -> list[MeshProcess]:
    signalled: set[int] = set()
    deadline = time.monotonic() + patience
    while (running := [p for p in scan(directory) if p.module in modules]) and time.monotonic() < deadline:
        for process in running:
            if process.pid not in signalled:
                signalled.add(process.pid)
                _signal(process.pid, number)
        time.sleep(POLL)
    for pid in signalled:
        _await_end(pid, deadline)
    return running


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it ended meanwhile
        os.kill(pid, number)


def kill(pid: int) -> bool:
    """Kill a process; tell whether it has gone within KILLED seconds, with all it had open."""
    _signal(pid, signal.SIGKILL)
    return _await_end(pid, time.monotonic() + KILLED)


def _await_end(pid: int, deadline: float) -> bool:
    """Tell whether a process is over before the deadline. `scan` forgets it earlier, with its memory."""
    while not (reap(pid) or _is_over(pid)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def _is_over(pid: int) -> bool:
    """A process that nobody reaped is over too: all it had open is closed by then."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in {"Z", "X"}


def reap(pid: int) -> bool:
    """Tell whether `pid` has ended, if it is a child of ours; leave no zombie."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def resident_bytes(pid: int) -> int:
    """Return the resident set size of a process, 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process so far, 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
