"""The runner's side of a mesh under load: wrk, the witness, and what the kernel of the clients counted."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from dlibos_orchestrator.bench import programs
from dlibos_orchestrator.bench.witness import PATIENCE
from dlibos_orchestrator.errors import MeshStateError
from dlibos_orchestrator.runtime import local, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory

LONGEST: Final = 3600  # seconds; wrk is told to stop long before
GRACE: Final = 30.0  # seconds until a client that was told to stop has


class Load(NamedTuple):
    """What wrk came to."""

    requests: int
    per_second: float
    errors: int  # connect, read, write, time-outs, and answers that were not 2xx or 3xx


class Account(NamedTuple):
    """What the witness saw since the last mark; witness.Account says what each field is."""

    requests: int
    resets: int
    timeouts: int
    wrong: int
    refused: int
    longest: float
    back: float | None
    gap: float

    @property
    def failures(self) -> int:
        """Requests that failed, of whatever kind."""
        return self.resets + self.timeouts + self.wrong + self.refused


class Crowd:
    """The clients of one mesh, in its network namespace. `loaded` and `watched` run them for the length of a block."""

    def __init__(self, directory: MeshDirectory) -> None:
        self._directory = directory
        self._keeper = next(p.pid for p in processes.scan(directory.path) if p.module == processes.KEEPER_MODULE)
        self._url = f"http://{local.reachable_address(directory.read_mesh())}/"
        self._load: Load | None = None

    @contextmanager
    def loaded(self, connections: int) -> Iterator[None]:
        """Let wrk hold `connections`; its result is in `load` behind the block."""
        wrk = [
            programs.path_of("wrk"),
            "-t1",
            f"-c{connections}",
            f"-d{LONGEST}s",
            f"--timeout={PATIENCE:g}s",
            self._url,
        ]
        with subprocess.Popen([*programs.inside(self._keeper), *wrk], stdout=subprocess.PIPE, text=True) as process:
            try:
                yield
            finally:
                process.send_signal(signal.SIGINT)
                text, _ = process.communicate(timeout=GRACE)
        self._load = parse(text)

    @property
    def load(self) -> Load:
        """What wrk came to, behind the block. MeshStateError before."""
        if self._load is None:
            raise MeshStateError("wrk has not ended yet: it tells its result behind the block that it runs in")
        return self._load

    @contextmanager
    def watched(self, kept: int) -> Iterator[Witness]:
        """Let the witness watch with `kept` connections."""
        command = [sys.executable, "-P", "-m", processes.WITNESS_MODULE, "--dir", str(self._directory.path)]
        with subprocess.Popen(
            [*command, "--kept", str(kept)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield Witness(process)
            finally:
                process.communicate(timeout=GRACE)

    def resets(self) -> int:
        """Connections that the clients' kernel has seen reset so far (RFC 4022: tcpEstabResets, tcpAttemptFails)."""
        counts = _snmp(Path(f"/proc/{self._keeper}/net/snmp").read_text())
        return counts["EstabResets"] + counts["AttemptFails"]


class Witness:
    """The witness process, as `watched` gives it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def mark(self) -> None:
        """Begin a new account."""
        self._say("mark")

    def tell(self) -> Account:
        """Return the account since the last mark. MeshStateError when the witness has ended."""
        self._say("tell")
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise MeshStateError("the witness has ended; its last words are above")
        return Account(**json.loads(line))

    def _say(self, word: str) -> None:
        if self._process.stdin is not None:
            print(word, file=self._process.stdin, flush=True)


def parse(text: str) -> Load:
    """Return what wrk printed. MeshStateError when it answers nothing."""
    done = re.search(r"(\d+) requests in ", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if done is None or rate is None:
        raise MeshStateError(f"wrk printed no result: {text.strip()[-200:]!r}")
    counts = re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", text)
    return Load(int(done[1]), float(rate[1]), sum(int(count) for count in counts))


def _snmp(text: str) -> dict[str, int]:
    """Return the TCP counters of /proc/net/snmp."""
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith("Tcp:"))
    return {name: int(value) for name, value in zip(names, values, strict=True)}
