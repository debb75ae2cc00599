"""The client: wrk with one thread, run where both servers are reachable, and what CPU time it took."""

from __future__ import annotations

import re
import resource
import subprocess
from collections.abc import Sequence
from typing import Final, NamedTuple

from dlibos_orchestrator.bench import programs
from dlibos_orchestrator.demo.load import LoadResult, parse_wrk
from dlibos_orchestrator.errors import MeshStateError

PATIENCE: Final = 30.0  # seconds wrk may take to begin and to end, beyond its duration


class Client(NamedTuple):
    """Where wrk runs: `prefix` is what goes before its command."""

    prefix: Sequence[str]

    def load(self, server: str, address: str, connections: int, seconds: int) -> tuple[LoadResult, float]:
        """Load / at `address`; return the result and wrk's CPU seconds. MeshStateError when nothing is answered."""
        before = _children_cpu()
        text = self._wrk([f"-c{connections}", f"-d{seconds}s", f"http://{address}/"], seconds + PATIENCE)
        spent = _children_cpu() - before
        if not re.search(r"[1-9]\d* requests in ", text):
            raise MeshStateError(f"{server}, {connections} connections: no request was answered: {_why(text)}")
        return parse_wrk(text), spent

    def _wrk(self, arguments: Sequence[str], timeout: float) -> str:
        command = [*self.prefix, programs.path_of("wrk"), "-t1", "--latency", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise MeshStateError(f"wrk did not end within {timeout:g} s") from error
        return done.stdout + done.stderr


def _why(text: str) -> str:
    """Return the line of wrk's output that tells most of a load without an answer."""
    found = re.search(r"Socket errors: .*", text)
    return found[0] if found else (text.strip().splitlines() or ["wrk said nothing"])[-1]


def parse_requests(text: str) -> int:
    """Return how many requests were answered in all, from wrk's output."""
    found = re.search(r"(\d+) requests in ", text)
    return int(found[1]) if found else 0


def version() -> str:
    """Return "wrk debian/4.1.0-3+b2"."""
    return " ".join(programs.first_line([programs.path_of("wrk"), "-v"]).split()[:2])


def _children_cpu() -> float:
    """Seconds of all children that ended and were waited for: between two calls, of wrk alone."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
