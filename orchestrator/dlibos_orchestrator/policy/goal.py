"""From counts and pins to tiles: who is to leave its role, and who is to join one, given who does what now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.policy.layout import best_to_join, best_to_leave


class Job(NamedTuple):
    """What a tile does: its role, and for app tiles the number of their domain."""

    role: mesh_pb2.Role.ValueType
    domain: int = 0


IDLE: Final = Job(mesh_pb2.ROLE_IDLE)
DRIVER: Final = Job(mesh_pb2.ROLE_DRIVER)
STACK: Final = Job(mesh_pb2.ROLE_STACK)


class Goal(NamedTuple):
    """Who changes. What finds no tile now waits until one that leaves has become idle."""

    leaving: frozenset[int]  # to become idle
    joining: Mapping[int, Job]  # tiles that are idle or not there yet
    missing: Mapping[Job, int]  # tiles wanted for which there is none yet


def job(entry: mesh_pb2.Tile) -> Job:
    """Return what a tile is to do."""
    return Job(entry.role, entry.domain if entry.role == mesh_pb2.ROLE_APP else 0)


def wanted(spec: orchestrator_pb2.Spec) -> dict[Job, int]:
    """Return how many tiles each job is to have; idle ones are no job."""
    apps = {Job(mesh_pb2.ROLE_APP, number): count for number, count in enumerate(spec.app, 1)}
    return {DRIVER: spec.driver, STACK: spec.stack, **apps}


def pins(spec: orchestrator_pb2.Spec) -> dict[int, Job]:
    """Return what the user said of single tiles."""
    return {pin.tile: Job(pin.role, pin.domain if pin.role == mesh_pb2.ROLE_APP else 0) for pin in spec.pins}


def untouchable(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh) -> frozenset[int]:
    """Return the tiles that are in the attacker's hands: they stay what they are."""
    return frozenset(spec.compromised) | {entry.tile for entry in mesh.tiles if entry.passive}


def goal(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh) -> Goal:
    """Return who is to change now. Of two tiles the worse placed leaves and the better placed joins."""
    return _Choice(spec, mesh).goal()


class _Choice:
    def __init__(self, spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh) -> None:
        self._spec, self._mesh = spec, mesh
        self._pins = pins(spec)
        self._fixed = untouchable(spec, mesh)
        self._jobs = {entry.tile: job(entry) for entry in mesh.tiles}
        self._draining = {entry.tile for entry in mesh.tiles if entry.draining}
        self._roles = {tile: has.role for tile, has in self._jobs.items()}  # as they become

    def goal(self) -> Goal:
        leaving = {tile for what, count in wanted(self._spec).items() for tile in self._leavers(what, count)}
        joining = self._pinned_now()
        short = {what: self._short(what, count, leaving) for what, count in wanted(self._spec).items()}
        for what, count in short.items():
            for _ in range(count):
                if pool := self._pool(joining):
                    self._join(what, pool, joining)
                    short[what] -= 1
        missing = {what: count for what, count in short.items() if count > 0}
        self._keep_idle(leaving, joining, missing)
        return Goal(frozenset(leaving), joining, missing)

    def _leavers(self, what: Job, count: int) -> set[int]:
        """Return who leaves a job: tiles pinned to another, and what is too many."""
        now = {tile for tile, has in self._jobs.items() if has == what and tile not in self._fixed}
        leaving = {tile for tile in now if self._pins.get(tile, what) != what}
        fixed = sum(has == what and tile in self._fixed for tile, has in self._jobs.items())
        too_many = fixed + len(now - leaving) + len(self._pending(what)) - count
        for _ in range(too_many):
            if not (free := {tile for tile in now - leaving if tile not in self._pins}):
                break
            leaving.add(self._worst(what, free, leaving))
        for tile in leaving:
            self._roles.pop(tile, None)
        return leaving

    def _pending(self, what: Job) -> list[int]:
        return [
            tile
            for tile, has in self._pins.items()
            if has == what and self._jobs.get(tile) != what and tile not in self._fixed
        ]

    def _worst(self, what: Job, free: set[int], leaving: set[int]) -> int:
        """Who drains already leaves first, then who owns no bucket: what has begun is gone on with."""
        begun = free & self._draining
        if what == STACK and not begun:
            owners = set(self._mesh.owners)
            begun = free - owners if owners & (free - leaving) else set()
        roles = {tile: role for tile, role in self._roles.items() if tile not in leaving}
        return best_to_leave(self._mesh.width, self._mesh.height, roles, begun or free)

    def _short(self, what: Job, count: int, leaving: set[int]) -> int:
        now = sum(has == what and tile not in leaving for tile, has in self._jobs.items())
        return max(0, count - now - len(self._pending(what)))

    def _pinned_now(self) -> dict[int, Job]:
        """Return the pinned tiles that can take their job at once."""
        joining = {}
        for tile, has in sorted(self._pins.items()):
            if tile not in self._fixed and self._jobs.get(tile, IDLE) == IDLE and self._jobs.get(tile) != has:
                joining[tile] = has
                self._roles[tile] = has.role
        return joining

    def _pool(self, joining: Mapping[int, Job]) -> list[int]:
        """Return the tiles among which a job may choose: idle ones, and if there is none, places that are free."""
        idle = [tile for tile, has in self._jobs.items() if has == IDLE and self._may_change(tile, joining)]
        return idle or self._free(joining)

    def _free(self, joining: Mapping[int, Job]) -> list[int]:
        places = range(self._mesh.width * self._mesh.height) if self._mesh.tiles else ()
        return [tile for tile in places if tile not in self._jobs and self._may_change(tile, joining)]

    def _may_change(self, tile: int, joining: Mapping[int, Job]) -> bool:
        return tile not in self._pins and tile not in self._fixed and tile not in joining

    def _join(self, what: Job, pool: Iterable[int], joining: dict[int, Job]) -> None:
        tile = best_to_join(self._mesh.width, self._mesh.height, self._roles, what.role, pool)
        joining[tile] = what
        self._roles[tile] = what.role

    def _keep_idle(self, leaving: set[int], joining: dict[int, Job], missing: Mapping[Job, int]) -> None:
        """Add idle tiles where those that there are, and those that become idle and stay so, are too few."""
        stay = [tile for tile, has in self._jobs.items() if has == IDLE and joining.get(tile, IDLE) == IDLE]
        new = [tile for tile, has in joining.items() if has == IDLE and tile not in self._jobs]
        later = [tile for tile in leaving if self._pins.get(tile, IDLE) == IDLE]
        count = len(stay) + len(new) + max(0, len(later) - sum(missing.values()))
        for tile in self._free(joining)[: max(0, self._spec.idle - count)]:
            joining[tile] = IDLE
