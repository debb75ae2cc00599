"""When a role gets a tile, and when it gives one back: by how busy its tiles are, with hysteresis.

A role whose mean is above `high` for `hold` seconds gets an idle tile; of several the busiest. One whose mean is below
`low` for as long gives one back, if those that remain would stay well below `high`: what has just been given for a
load is therefore not taken back under the same load, and what has been taken back is not missed. Between two changes
lie `rest` seconds, and none comes while the mesh is not yet as the spec wants it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.policy.goal import Job, goal, job, pins, untouchable, wanted

MARGIN: Final = 0.75  # of `high`: the most that is expected of those that remain when one is given back


class Level(NamedTuple):
    """How busy a role is, smoothed over half of `hold`, and since when it has been too much or too little."""

    busy: float
    side: int = 0  # 1: above high; -1: below low
    since: float = 0.0  # monotonic seconds


class State(NamedTuple):
    """What is remembered from one look to the next."""

    levels: Mapping[Job, Level] = {}
    looked: float = 0.0  # monotonic seconds
    changed: float = -math.inf


class Advice(NamedTuple):
    """What to ask of `apply_request` (None: nothing), what to remember, and a line for each role that says why."""

    scale: orchestrator_pb2.Scale | None
    state: State
    lines: list[str]


def advise(
    spec: orchestrator_pb2.Spec,
    mesh: mesh_pb2.Mesh,
    observed: Mapping[int, Observed],
    state: State,
    now: float,
) -> Advice:
    """Look at how busy the tiles are; `now` in seconds of Observed's clock. Without spec.autoscale: nothing."""
    if not spec.HasField("autoscale"):
        return Advice(None, State(), [])
    look = _Look(spec, mesh, observed, state, now)
    scale = look.change() if look.settled and now >= state.changed + spec.autoscale.rest else None
    changed = now if scale is not None else state.changed
    # After a change the roles are measured anew: what was too much before may not be now.
    levels = {} if scale is not None else look.levels
    return Advice(scale, State(levels, now, changed), look.lines())


class _Look:
    def __init__(
        self,
        spec: orchestrator_pb2.Spec,
        mesh: mesh_pb2.Mesh,
        observed: Mapping[int, Observed],
        state: State,
        now: float,
    ) -> None:
        self._spec, self._mesh, self._now = spec, mesh, now
        self._limits = spec.autoscale
        fixed = untouchable(spec, mesh)
        self._busy: dict[Job, list[float]] = {what: [] for what in wanted(spec)}
        for entry in mesh.tiles:
            seen = observed.get(entry.tile)
            if seen is not None and seen.up and entry.tile not in fixed and job(entry) in self._busy:
                self._busy[job(entry)].append(seen.busy)
        self._fixed = [job(entry) for entry in mesh.tiles if entry.tile in fixed]
        counts = {what: len(busy) + self._fixed.count(what) for what, busy in self._busy.items()}
        aim = goal(spec, mesh)
        quiet = not (aim.leaving or aim.joining or aim.missing or any(entry.draining for entry in mesh.tiles))
        self.settled = quiet and counts == wanted(spec)
        self.levels = {what: self._level(what, state) for what in self._busy}

    def change(self) -> orchestrator_pb2.Scale | None:
        """Return the one change that is due."""
        busiest = sorted(self.levels, key=lambda what: -self.levels[what].busy)
        for what in busiest:
            if self._due(what, 1) and self._idle():
                return self._scale(what, 1)
        for what in reversed(busiest):
            if self._due(what, -1) and self._spared(what):
                return self._scale(what, -1)
        return None

    def lines(self) -> list[str]:
        """Return what is thought of each role."""
        return [self._line(what, level) for what, level in self.levels.items()]

    def _level(self, what: Job, state: State) -> Level:
        busy = self._busy[what]
        before = state.levels.get(what)
        mean = sum(busy) / len(busy) if busy else 0.0
        if before is not None and busy:
            weight = 1.0 - math.exp(-(self._now - state.looked) / (self._limits.hold / 2))
            mean = before.busy + weight * (mean - before.busy)
        side = (mean > self._limits.high) - (mean < self._limits.low)
        same = before is not None and before.side == side
        return Level(mean, side, before.since if before is not None and same else self._now)

    def _due(self, what: Job, side: int) -> bool:
        level = self.levels[what]
        return bool(self._busy[what]) and level.side == side and self._now >= level.since + self._limits.hold

    def _idle(self) -> bool:
        kept = pins(self._spec)
        return any(entry.role == mesh_pb2.ROLE_IDLE and entry.tile not in kept for entry in self._mesh.tiles)

    def _spared(self, what: Job) -> bool:
        """Whether the others can do the work of one, and one may be taken at all."""
        count = len(self._busy[what])
        pinned = sum(has == what for has in pins(self._spec).values())
        if count < 2 or count + self._fixed.count(what) <= pinned:
            return False
        return self.levels[what].busy * count / (count - 1) <= MARGIN * self._limits.high

    def _scale(self, what: Job, change: int) -> orchestrator_pb2.Scale:
        count = wanted(self._spec)[what] + change
        scale = orchestrator_pb2.Scale(idle=max(0, self._spec.idle - change))
        if what.role == mesh_pb2.ROLE_APP:
            scale.app[self._mesh.domains[what.domain - 1].name] = count
        elif what.role == mesh_pb2.ROLE_DRIVER:
            scale.driver = count
        else:
            scale.stack = count
        return scale

    def _line(self, what: Job, level: Level) -> str:
        name = mesh_pb2.Role.Name(what.role).removeprefix("ROLE_").lower()
        if what.domain and len(self._mesh.domains) > 1:
            name += f" {self._mesh.domains[what.domain - 1].name}"
        said = f"{name}: {level.busy:.2f} busy on {len(self._busy[what])} tiles"
        held = self._now - level.since
        if level.side > 0:
            short = "" if self._idle() else "; no tile is idle: `dlibos scale idle=1`"
            return f"{said}, above {self._limits.high:g} for {held:.1f} s{short}"
        if level.side < 0:
            kept = "" if self._spared(what) else "; it keeps what it has"
            return f"{said}, below {self._limits.low:g} for {held:.1f} s{kept}"
        return f"{said}, between {self._limits.low:g} and {self._limits.high:g}"
