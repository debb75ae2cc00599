"""Which part of protection costs how much: `python -m dlibos_node.cost` measures, here it is added up.

The steps are measured one upon the other and the whole by itself, so the sum of the parts can miss the whole; by how
much it may, is the interval of their difference, round by round.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from dlibos_orchestrator.bench.estimate import Interval, interval
from dlibos_orchestrator.errors import MeshStateError

MODULE: Final = "dlibos_node.cost"
STEPS: Final = {  # part: the variations before and after it is switched on
    "mapping": ("bare", "mapped"),
    "leases": ("mapped", "leased"),
    "checks": ("leased", "checked"),
}
SUM: Final = ("bare", "checked")
WHOLE: Final = ("unprotected", "protected")
PATIENCE: Final = 30.0  # seconds for each round; a busy machine takes five


class Parts(NamedTuple):
    """CPU time in microseconds per request, in one process and without gRPC.

    `unexplained` is the whole less the sum: 0 lies in its interval where the parts add up. `path` is what a request
    costs by variation. Apart from these: `syscalls`, what a hardened tile's filter adds to the two calls of a request
    at the driver, which are not made here, and `once`, milliseconds a partition by what is done and mode. `raw` is what
    the measuring process printed.
    """

    core: str
    parts: Mapping[str, Interval]
    sum: Interval
    whole: Interval
    unexplained: Interval
    path: Mapping[str, float]
    syscalls: float
    once: Mapping[str, Mapping[str, float]]
    raw: Mapping[str, Any]

    @property
    def add_up(self) -> bool:
        """Whether sum and whole agree within the uncertainty."""
        return self.unexplained.low <= 0.0 <= self.unexplained.high


def measure(rounds: int, connections: int, seed: int) -> Parts:
    """Run the measurement in a process of its own. MeshStateError when it fails."""
    flags = ["--rounds", str(rounds), "--connections", str(connections), "--seed", str(seed)]
    command = [sys.executable, "-P", "-m", MODULE, *flags]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * rounds)
    except subprocess.TimeoutExpired as error:
        raise MeshStateError(f"{MODULE} did not end within {error.timeout:g} s; try a less busy machine") from error
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise MeshStateError(f"{MODULE} ended: {words}")
    return add_up(json.loads(done.stdout))


def add_up(raw: Mapping[str, Any]) -> Parts:
    """Return what the figures of all rounds come to."""
    rounds: Sequence[Mapping[str, float]] = raw["us_per_request"]
    residues = [_difference(one, WHOLE) - _difference(one, SUM) for one in rounds]
    return Parts(
        core=raw["core"],
        parts={name: _mean(rounds, step) for name, step in STEPS.items()},
        sum=_mean(rounds, SUM),
        whole=_mean(rounds, WHOLE),
        unexplained=interval(residues),
        path={name: interval([one[name] for one in rounds]).mean for name in rounds[0]},
        syscalls=(raw["readv_writev_ns"]["filtered"] - raw["readv_writev_ns"]["free"]) / 1e3,
        once=raw["mapping_ms"],
        raw=raw,
    )


def _mean(rounds: Sequence[Mapping[str, float]], step: tuple[str, str]) -> Interval:
    return interval([_difference(one, step) for one in rounds])


def _difference(one: Mapping[str, float], step: tuple[str, str]) -> float:
    before, after = step
    return one[after] - one[before]
