from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.model.options import AutoscaleLimits, Domain, MeshOptions
from dlibos_orchestrator.model.spec import apply_request, spec_of
from dlibos_orchestrator.plan import Wait, next_action
from dlibos_orchestrator.plan.world import World
from dlibos_orchestrator.policy.autoscale import State, advise
from dlibos_orchestrator.policy.goal import job, wanted
from tests.orchestrator.plan.trial import small_mesh

NOISE = 0.08
Work = Callable[[float], dict[str, float]]  # seconds -> tiles' worth of work for each role


class Load:
    """A mesh that does what it is told at once, and whose roles share their work evenly, give or take."""

    def __init__(self, options: MeshOptions, work: Work, seed: int = 1) -> None:
        self.spec = spec_of(options)
        self.world = World(small_mesh(options))
        self.work, self.random = work, random.Random(seed)
        self.state = State()
        self.scaled: list[tuple[float, orchestrator_pb2.Scale]] = []
        self.lines: list[str] = []

    def counts(self) -> tuple[int, ...]:
        return tuple(wanted(self.spec).values())

    def run(self, seconds: int) -> None:
        for second in range(seconds):
            self._plan(float(second))
            seen = {tile: one._replace(busy=self._busy(tile, second)) for tile, one in self.seen.items()}
            advice = advise(self.spec, self.world.mesh, seen, self.state, float(second))
            self.state, self.lines = advice.state, advice.lines
            if advice.scale is not None:
                self.scaled.append((float(second), advice.scale))
                request = orchestrator_pb2.Request(scale=advice.scale)
                self.spec = apply_request(self.spec, self.world.mesh, request, seen)

    def _plan(self, now: float) -> None:
        for _ in range(100):
            self.world.settle()
            self.seen = self.world.observe({}, now)
            action = next_action(self.spec, self.world.mesh, self.seen, {}, now)
            if isinstance(action, Wait):
                return
            self.world.act(action)
        raise AssertionError("the mesh does not settle")

    def _busy(self, tile: int, second: float) -> float:
        entry = next(entry for entry in self.world.mesh.tiles if entry.tile == tile)
        name = mesh_pb2.Role.Name(entry.role).removeprefix("ROLE_").lower()
        fellows = sum(job(other) == job(entry) for other in self.world.mesh.tiles)
        share = self.work(second).get(name, 0.0) / fellows
        return min(1.0, max(0.0, share + self.random.uniform(-NOISE, NOISE)))


def mesh(idle: int = 4, low: float = 0.3, high: float = 0.8) -> MeshOptions:
    limits = AutoscaleLimits(high=high, low=low, hold=5.0, rest=10.0)
    return MeshOptions(width=4, height=3, idle=idle, tune={"buckets": 16}, autoscale=limits)


def test_the_role_that_has_most_to_do_gets_the_idle_tiles() -> None:
    load = Load(mesh(), lambda _: {"driver": 0.5, "stack": 2.2, "app": 0.5})
    load.run(120)
    assert load.counts() == (1, 3, 1)
    assert load.spec.idle == 2


def test_nothing_happens_before_it_has_held_long_enough_or_while_it_rests() -> None:
    load = Load(mesh(), lambda _: {"driver": 0.5, "stack": 3.0, "app": 3.0})
    load.run(120)
    times = [time for time, _ in load.scaled]
    assert times[0] >= 5.0
    assert all(later - earlier >= 10.0 for earlier, later in pairwise(times))


def test_a_short_peak_changes_nothing() -> None:
    load = Load(mesh(), lambda second: {"driver": 0.5, "stack": 1.0 if 20 <= second < 23 else 0.5, "app": 0.5})
    load.run(60)
    assert load.scaled == []


def test_what_is_not_needed_any_more_becomes_idle_again() -> None:
    load = Load(mesh(), lambda second: {"driver": 0.5, "stack": 2.2 if second < 100 else 0.2, "app": 0.5})
    load.run(100)
    assert load.counts() == (1, 3, 1)
    load.work = lambda _: {"driver": 0.5, "stack": 0.2, "app": 0.5}
    load.run(200)
    assert load.counts() == (1, 1, 1)
    assert load.spec.idle == 4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("work", [0.4, 0.55, 0.6, 0.79, 0.8, 0.81, 1.0, 1.2, 1.59, 1.61, 2.4])
def test_a_steady_load_with_noise_never_goes_to_and_fro(work: float, seed: int) -> None:
    load = Load(mesh(low=0.4), lambda _: {"driver": 0.5, "stack": work, "app": 0.5}, seed)
    load.run(300)
    counts = [scale.stack for _, scale in load.scaled if scale.HasField("stack")]
    assert counts == sorted(counts), "given, then taken back under the same load"
    assert len(counts) == len(set(counts))


def test_with_no_idle_tile_it_says_what_it_lacks() -> None:
    load = Load(mesh(idle=0), lambda _: {"driver": 0.5, "stack": 1.0, "app": 0.5})
    load.run(30)
    assert load.scaled == []
    assert any(line.startswith("stack: 0.9") and "`dlibos scale idle=1`" in line for line in load.lines)


def test_domains_are_scaled_one_by_one() -> None:
    options = mesh()
    several = MeshOptions(
        width=4, height=3, idle=2, domain=(Domain("a"), Domain("b", port=81)), tune={"buckets": 16},
        autoscale=options.autoscale,
    )  # fmt: skip
    load = Load(several, lambda _: {"driver": 0.5, "stack": 0.5, "app": 0.9})
    load.run(40)
    assert load.counts() == (1, 1, 2, 2)


def test_pinned_tiles_are_not_taken_back() -> None:
    load = Load(mesh(), lambda _: {"driver": 0.5, "stack": 0.1, "app": 0.5})
    pin = orchestrator_pb2.Request(assign=orchestrator_pb2.Pin(tile=3, role=mesh_pb2.ROLE_STACK))
    pinned = orchestrator_pb2.Request(assign=orchestrator_pb2.Pin(tile=1, role=mesh_pb2.ROLE_STACK))
    for request in (pin, pinned):
        load.spec = apply_request(load.spec, load.world.mesh, request)
    load.run(60)
    assert load.counts() == (1, 2, 1)


def test_without_limits_it_does_nothing() -> None:
    load = Load(MeshOptions(width=4, height=3, idle=2, tune={"buckets": 16}), lambda _: {"stack": 5.0})
    load.run(30)
    assert load.scaled == []
