"""`dlibos bench heal`: what the clients notice of a tile that is killed, or hangs.

A mesh has two tiles of each role. Under load one of them is killed (SIGKILL) or stopped (SIGSTOP). Service is back when
the first newcomer that came after that has its page. Only connections of the dead tile may be lost: a driver has none,
and at most as many as the stack or app tile had just before, and the newcomers that it was given since. At last the
orchestrator is killed, and the broker with it, and started again: nobody may lose anything.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from dlibos_orchestrator import control
from dlibos_orchestrator.bench.crowd import Account, Crowd, Load, Witness
from dlibos_orchestrator.bench.soak import hold
from dlibos_orchestrator.errors import MachineError
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime import local, namespace, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.observe import TileRow, observe

START_SECONDS: Final = 60.0
HEAL_SECONDS: Final = 60.0
KEPT: Final = 40
REST: Final = 2.0  # seconds behind a death until the next
ROLES: Final = ("driver", "stack", "app")
SERVING: Final = ("stack", "app")  # roles that have connections
ORCHESTRATOR: Final = "orchestrator"
ALONE: Final = 1.0  # seconds a mesh is without its orchestrator


class Plan(NamedTuple):
    """How often each role loses a tile, how (a signal), tiles of each role, and how many connections wrk holds."""

    rounds: int
    tiles: int
    connections: int
    signals: Sequence[signal.Signals] = (signal.SIGKILL,)


class Death(NamedTuple):
    """One of them. `ready`: seconds until the tile was ready again; `lost`: of `had` connections of all clients."""

    role: str
    tile: int
    signal: str
    ready: float
    had: int
    lost: int
    account: Account

    @property
    def name(self) -> str:
        """Who died, in words."""
        return self.role if self.tile < 0 else f"{self.role} tile {self.tile}"

    @property
    def innocent(self) -> int:
        """What others than the dead tile's connections have lost."""
        own = self.had + self.account.refused if self.role in SERVING else 0
        return max(self.lost - own, 0) + self.account.wrong + self.account.timeouts


class Result(NamedTuple):
    """All of it."""

    deaths: Sequence[Death]
    load: Load


def run(plan: Plan, notice: Callable[[str], None]) -> Result:
    """Kill tiles of a mesh under load; nothing of it is left in the end."""
    if not (found := namespace.can_have_tap()):
        raise MachineError(f"bench heal needs a kernel TAP device: {found.reason}; {found.fix}")
    options = MeshOptions(name=f"heal-{os.getpid()}", nic="tap", driver=plan.tiles, stack=plan.tiles, app=plan.tiles)
    try:
        local.up(options, START_SECONDS, lambda line: None)
        return _heal(mesh_directory(options.name), options, plan, notice)
    finally:
        local.down(options.name)


def _heal(directory: MeshDirectory, options: MeshOptions, plan: Plan, notice: Callable[[str], None]) -> Result:
    crowd = Crowd(directory)
    deaths: list[Death] = []
    with crowd.watched(KEPT) as witness, crowd.loaded(plan.connections):
        time.sleep(REST)
        for number in range(plan.rounds):
            for role in ROLES:
                for how in plan.signals:
                    deaths.append(_kill(directory, crowd, witness, _victim(directory, role, number), how))
                    notice(_line(deaths[-1]))
            deaths.append(_orphan(directory, options, crowd, witness))
            notice(_line(deaths[-1]))
    return Result(deaths, crowd.load)


def _victim(directory: MeshDirectory, role: str, number: int) -> TileRow:
    rows = [row for row in observe(directory) if row.role == role]
    return rows[number % len(rows)]


def _kill(directory: MeshDirectory, crowd: Crowd, witness: Witness, victim: TileRow, how: signal.Signals) -> Death:
    had = hold(victim.tile, victim.role, victim.pid, victim.metrics_port).connections
    before = crowd.resets()
    witness.mark()
    began = time.monotonic()
    os.kill(victim.pid, how)
    control.wait_replaced(directory, victim.tile, victim.pid, HEAL_SECONDS)
    ready = time.monotonic() - began
    time.sleep(REST)
    return Death(victim.role, victim.tile, how.name, ready, had, crowd.resets() - before, witness.tell())


def _orphan(directory: MeshDirectory, options: MeshOptions, crowd: Crowd, witness: Witness) -> Death:
    """Kill the orchestrator and its broker; `ready` counts from when they are started again."""
    pid = next(p.pid for p in processes.scan(directory.path) if p.module == processes.ORCHESTRATOR_MODULE)
    before = crowd.resets()
    witness.mark()
    os.kill(pid, signal.SIGKILL)
    time.sleep(ALONE)
    began = time.monotonic()
    local.up(options, None, lambda line: None)
    control.wait_settled(directory, 0, HEAL_SECONDS, lambda line: None)
    ready = time.monotonic() - began
    time.sleep(REST)
    return Death(ORCHESTRATOR, -1, "SIGKILL", ready, 0, crowd.resets() - before, witness.tell())


def _line(death: Death) -> str:
    account = death.account
    back = "not back" if account.back is None else f"service back in {account.back:.2f} s"
    return (
        f"{death.signal} {death.name}: {back}, ready in {death.ready:.2f} s, "
        f"{death.lost} of its {death.had} connections reset, longest gap {account.gap:.2f} s, "
        f"{account.refused} newcomers turned away"
    )
