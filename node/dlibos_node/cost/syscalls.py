"""What the hardened tile's system-call filter costs a readv and a writev, the two calls of a request at the driver.

`python -m dlibos_node.cost.syscalls` is a process of its own because a filter cannot be taken off again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Final

from dlibos_node.errors import MeasurementError
from dlibos_node.hardening.apply import harden
from dlibos_node.hardening.landlock import Rules
from dlibos_node.hardening.profile import Profile

CALLS: Final = 2000
RUNS: Final = 25
PATIENCE: Final = 30.0  # seconds


def measure() -> dict[str, float]:
    """Return the nanoseconds of both calls together, "free" and "filtered". MeasurementError when it cannot be had."""
    command = [sys.executable, "-P", "-m", __name__]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise MeasurementError(f"the system-call filter could not be tried: {words}: see `dlibos doctor`")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    """Time the calls, harden this process, time them again."""
    source, sink = os.open("/dev/zero", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY)
    free = _least(source, sink)
    harden(Profile("trial", Rules(), inet=False))
    print(json.dumps({"free": free, "filtered": _least(source, sink)}))
    return 0


def _least(source: int, sink: int) -> float:
    """The least of the runs: what is above it is other processes' doing."""
    return min(_run(source, sink) for _ in range(RUNS)) / CALLS


def _run(source: int, sink: int) -> int:
    room = (memoryview(bytearray(64)),)
    before = time.thread_time_ns()
    for _ in range(CALLS):
        os.readv(source, room)
        os.writev(sink, room)
    return time.thread_time_ns() - before


if __name__ == "__main__":
    sys.exit(main())
