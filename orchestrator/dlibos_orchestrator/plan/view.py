"""One look at the world: what is wanted, what is seen of it, and what follows for single tiles.

What is seen is distrusted: tiles outside the mesh, words of a wrong role or of an epoch that never was count for
nothing but the end of the process that spoke them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.model.entries import bucket_count, owned
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.plan.actions import SETTLED, Wait
from dlibos_orchestrator.plan.backoff import Failure, due
from dlibos_orchestrator.policy.goal import IDLE, Goal, Job, goal, job, untouchable

COMING: Final = 10.0  # seconds for which changes of the others wait for a tile that starts
FEW: Final = 2  # failures up to which a tile counts as one that is about to come

NOTHING: Final = Goal(frozenset(), {}, {})


class View:
    """The arguments of `next_action`, indexed. It also gathers what the planner waits for, and until when."""

    def __init__(
        self,
        spec: orchestrator_pb2.Spec,
        mesh: mesh_pb2.Mesh,
        observed: Mapping[int, Observed],
        failures: Mapping[int, Failure],
        now: float,
    ) -> None:
        self.spec: Final = spec
        self.mesh: Final = mesh
        self.now: Final = now
        self.entries: Final = {entry.tile: entry for entry in mesh.tiles}
        self.observed: Final = {tile: seen for tile, seen in observed.items() if seen.tile == tile}
        self.failures: Final = failures
        self.fixed: Final = untouchable(spec, mesh)
        self.fused: Final = mesh.protection == mesh_pb2.PROTECTION_FUSED
        self.goal: Final = NOTHING if self.fused else goal(spec, mesh)
        self.restarting: Final = frozenset() if self.fused else self._restarting()
        self.stacks: Final = [
            tile for tile, entry in self.entries.items() if entry.role == mesh_pb2.ROLE_STACK and not entry.passive
        ]
        self.live: Final = [tile for tile in self.stacks if self.seen(tile).alive]
        self.buckets: Final = bucket_count(mesh)
        self._reasons: list[str] = []
        self._until: float | None = None

    def seen(self, tile: int) -> Observed:
        """Return what is known of a tile: of an unknown one that it does not run."""
        return self.observed.get(tile) or Observed(tile)

    def up(self, tile: int) -> bool:
        """Whether the tile can be counted on to do what its entry says."""
        seen = self.seen(tile)
        return tile in self.entries and seen.up and seen.role in (0, self.entries[tile].role)

    def due(self, tile: int) -> float:
        """Return when a dead tile may be started."""
        return due(self.failures.get(tile))

    def coming(self, tile: int) -> bool:
        """Whether a tile is not up yet and may be expected to be soon."""
        failure, seen = self.failures.get(tile), self.seen(tile)
        if self.up(tile) or (failure is not None and failure.times > FEW):
            return False
        if not seen.alive:
            return True
        if self.now >= seen.started + COMING:
            return False
        self.look_again(seen.started + COMING)
        return True

    def colleagues(self, tile: int) -> list[int]:
        """Return who would go on with a tile's work: up, not draining, not in the attacker's hands."""
        what = job(self.entries[tile])
        return [
            other
            for other, entry in self.entries.items()
            if other != tile and job(entry) == what and not entry.draining and other not in self.fixed
            if self.up(other)
        ]

    def held(self, tile: int) -> int:
        """Return what a stack tile says it holds; bit b stands for bucket b."""
        return int.from_bytes(self.seen(tile).held, "little") & ((1 << self.buckets) - 1)

    def owned(self, tile: int) -> int:
        """Return what a tile is to own; bit b stands for bucket b."""
        return owned(self.mesh.owners).get(tile, 0)

    def wait(self, why: str, until: float | None = None) -> None:
        """Note that something is to be done later."""
        self._reasons.append(why)
        self.look_again(until)

    def look_again(self, until: float | None) -> None:
        """Have the next look then at the latest."""
        if until is not None and until > self.now:
            self._until = until if self._until is None else min(self._until, until)

    def waiting(self) -> Wait:
        """Return what is waited for, the first that was noted."""
        return Wait(self._reasons[0] if self._reasons else SETTLED, self._until)

    def _restarting(self) -> frozenset[int]:
        """Return the tiles whose process is to be followed by a later one: of each job one at a time."""
        first: dict[Job, int] = {}
        for tile, incarnation in sorted(self.spec.later_than.items()):
            seen, entry = self.seen(tile), self.entries.get(tile)
            if entry is None or tile in self.fixed or not (seen.alive and 0 < seen.incarnation <= incarnation):
                continue
            first.setdefault(job(entry) if job(entry) != IDLE else Job(mesh_pb2.ROLE_IDLE, tile), tile)
        return frozenset(first.values()) - self.goal.leaving
