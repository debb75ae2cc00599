"""`dlibos bench scale`: does anybody notice when a mesh is scaled under load?

wrk holds its connections and asks without a pause, the witness watches, and the mesh is scaled up and down again, role
by role, round after round. What the clients lost is counted twice: by themselves, and by their kernel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from dlibos_orchestrator import control
from dlibos_orchestrator.bench.crowd import Account, Crowd, Load, Witness
from dlibos_orchestrator.errors import MachineError
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime import local, namespace
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory

START_SECONDS: Final = 60.0
SCALE_SECONDS: Final = 120.0  # until a change has settled
KEPT: Final = 20  # connections of the witness
PAUSE: Final = 0.5  # seconds between two changes
STEPS: Final[Sequence[tuple[str, int]]] = (
    ("stack", 4), ("stack", 1), ("app", 4), ("app", 1), ("driver", 2), ("driver", 1),
)  # fmt: skip


class Plan(NamedTuple):
    """How often, and how many connections wrk holds."""

    rounds: int
    connections: int


class Step(NamedTuple):
    """One change: seconds until it had settled, and what the witness saw meanwhile."""

    role: str
    tiles: int
    seconds: float
    account: Account


class Result(NamedTuple):
    """All of it. `resets` is what the clients' kernel counted."""

    steps: Sequence[Step]
    load: Load
    resets: int

    @property
    def failures(self) -> int:
        """Requests that failed or connections that were lost, by any count."""
        return self.load.errors + self.resets + sum(step.account.failures for step in self.steps)


def run(plan: Plan, notice: Callable[[str], None]) -> Result:
    """Scale a mesh under load; nothing of it is left in the end."""
    if not (found := namespace.can_have_tap()):
        raise MachineError(f"bench scale needs a kernel TAP device: {found.reason}; {found.fix}")
    options = MeshOptions(name=f"scale-{os.getpid()}", nic="tap")
    try:
        local.up(options, START_SECONDS, lambda line: None)
        return _scale(mesh_directory(options.name), plan, notice)
    finally:
        local.down(options.name)


def _scale(directory: MeshDirectory, plan: Plan, notice: Callable[[str], None]) -> Result:
    crowd, steps = Crowd(directory), []
    with crowd.watched(KEPT) as witness, crowd.loaded(plan.connections):
        time.sleep(1)  # all connections are there, and their first requests are answered
        before = crowd.resets()
        for number in range(plan.rounds):
            for role, count in STEPS:
                steps.append(_step(directory, witness, {role: count}))
                if steps[-1].account.failures:
                    notice(f"{role} -> {count}: {_failures(steps[-1].account)}")
            failed = sum(step.account.failures for step in steps)
            notice(f"round {number + 1} of {plan.rounds}: {failed} failures, {crowd.resets() - before} resets so far")
        resets = crowd.resets() - before
    return Result(steps, crowd.load, resets)


def _step(directory: MeshDirectory, witness: Witness, counts: Mapping[str, int]) -> Step:
    witness.mark()
    began = time.monotonic()
    control.scale(directory, counts, SCALE_SECONDS)
    seconds = time.monotonic() - began
    time.sleep(PAUSE)
    role, count = next(iter(counts.items()))
    return Step(role, count, seconds, witness.tell())


def _failures(account: Account) -> str:
    """Return what failed, in words."""
    kinds = ("resets", "timeouts", "wrong", "refused")
    return ", ".join(f"{count} {kind}" for kind in kinds if (count := getattr(account, kind)))
