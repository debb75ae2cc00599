"""A mesh on which everything goes wrong that can: tiles die, hang and wake up, words come late, twice and out of order,
the orchestrator forgets all but what it wrote down. What the planner does is checked after each step.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model import observed as model
from dlibos_orchestrator.model.desired import desired_mesh
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.model.options import Domain, MeshOptions
from dlibos_orchestrator.model.spec import apply_request, spec_of
from dlibos_orchestrator.plan import SETTLED, Action, Failure, Kill, Wait, Write, next_action
from dlibos_orchestrator.plan.backoff import STEADY, failed
from dlibos_orchestrator.plan.spread import balanced
from dlibos_orchestrator.plan.world import Flight, World
from dlibos_orchestrator.policy.goal import job, wanted

BUCKETS = 11
TICK = 0.1  # seconds: a tile looks this often at what it has to say
LATEST = 0.3  # seconds that a word or a flight takes at most
LOAD = 1.0  # seconds between heartbeats
CALM = 3000  # ticks after the last failure within which all must be well


def small_mesh(options: MeshOptions) -> mesh_pb2.Mesh:
    return desired_mesh(options, mesh_pb2.NIC_KIND_USER, Path("/r"), "m-1")


class Word(NamedTuple):
    latest: float
    said: mesh_pb2.TileStatus


class Trial:
    def __init__(self, options: MeshOptions, seed: int) -> None:
        self.random = random.Random(seed)
        self.spec = spec_of(options)
        self.world = World(small_mesh(options))
        self.now = 100.0
        self.pace = self.random.choice((2, 3, 6))  # a slow world lags behind the meshes that are written
        self.trouble_rate = self.random.choice((0.02, 0.06, 0.2))
        self.seen: dict[int, Observed] = {}
        self.failures: dict[int, Failure] = {}
        self.words: list[Word] = []
        self.retained: dict[int, mesh_pb2.TileStatus] = {}
        self.flown: dict[Flight, float] = {}
        self.last_said: dict[int, bytes] = {}
        self.last_load: dict[int, float] = {}
        self.actions: list[Action] = []

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        self.now += TICK
        for _ in range(self.random.randrange(self.pace)):
            if moves := self.world.moves():
                self.world.do(self.random.choice(moves))
                self.check_holders()
        self._land_what_is_late()
        self._speak()
        self._deliver()
        self._look_at_processes()

    def plan(self) -> Action:
        action = next_action(self.spec, self.world.mesh, self.seen, self.failures, self.now)
        self.check(action)
        self.world.act(action)
        self.actions.append(action)
        if isinstance(action, Kill):
            self._look_at_processes()
        self.check_holders()
        return action

    def _land_what_is_late(self) -> None:
        for flight in list(self.world.flights):
            since = self.flown.setdefault(flight, self.now)
            target = self.world.processes.get(flight.target)
            if self.now >= since + LATEST and (target is None or not target.hung):
                for move in self.world.moves():
                    if move.what == "arrive" and (move.tile, move.other) == (flight.target, flight.source):
                        self.world.do(move)
        self.flown = {flight: since for flight, since in self.flown.items() if flight in self.world.flights}

    def _speak(self) -> None:
        for tile, process in self.world.processes.items():
            if process.hung or self.random.random() < 0.3:
                continue
            status = self.world.status(tile)
            text = status.SerializeToString(deterministic=True)
            process.said -= 1
            status.sequence = 0
            if (text := status.SerializeToString(deterministic=True)) == self.last_said.get(tile):
                continue
            self.last_said[tile] = text
            process.said += 1
            status.sequence = process.said
            self.retained[tile] = status
            for _ in range(self.random.choice((1, 1, 1, 2))):
                self.words.append(Word(self.now + self.random.random() * LATEST, status))

    def _deliver(self) -> None:
        self.random.shuffle(self.words)
        due = [word for word in self.words if word.latest <= self.now or self.random.random() < 0.4]
        self.words = [word for word in self.words if word not in due]
        for word in due:
            self._fold(word.said)
        for tile, process in self.world.processes.items():
            behind = any(word.said.tile == tile for word in self.words)
            if not process.hung and not behind and self.now >= self.last_load.get(tile, 0.0) + LOAD:
                self.last_load[tile] = self.now
                beat = mesh_pb2.TileLoad(tile=tile, incarnation=process.incarnation, busy=0.5)
                if (told := model.load(self.seen.get(tile), beat, self.now)) is not None:
                    self.seen[tile] = told

    def _fold(self, said: mesh_pb2.TileStatus) -> None:
        if (told := model.status(self.seen.get(said.tile), said, self.now)) is not None:
            self.seen[said.tile] = told

    def _look_at_processes(self) -> None:
        tiles = {entry.tile for entry in self.world.mesh.tiles} | set(self.world.processes) | set(self.seen)
        for tile in tiles:
            before = self.seen.get(tile)
            pid = self.world.pid(tile)
            self.seen[tile] = model.process(before, tile, pid, self.now)
            killed = self.actions and isinstance(self.actions[-1], Kill) and self.actions[-1].tile == tile
            if before is not None and before.alive and before.pid != pid and not killed:
                self.failures[tile] = failed(self.failures.get(tile), self.now)
            if self.seen[tile].up and self.now > self.seen[tile].started + STEADY:
                self.failures.pop(tile, None)

    def run_stack_churn(self, ticks: int) -> None:
        """The narrow case that is hard: from a mesh that is well, stack tiles come, go and die while tables change."""
        for entry in self.world.mesh.tiles:
            self.world.start(entry.tile)
        self.world.settle()
        self.seen = self.world.observe({}, self.now)
        for _ in range(ticks):
            self.tick()
            self.plan()
            stacks = [tile for tile, process in self.world.processes.items() if process.holds]
            if stacks and self.random.random() < self.trouble_rate:
                self.world.end(self.random.choice(stacks))
            if self.random.random() < self.trouble_rate / 2:
                count = self.random.randrange(2, 5)
                self.ask(orchestrator_pb2.Request(scale=orchestrator_pb2.Scale(stack=count)))

    def run_through_trouble(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick()
            if self.random.random() < 0.5:
                self.plan()
            if self.random.random() < self.trouble_rate:
                self.trouble()

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def trouble(self) -> None:
        what = self.random.choice(("die", "die", "hang", "wake", "forget", "will", "ask", "ask"))
        tiles = list(self.world.processes)
        # Stack tiles are the ones whose death is hard.
        tiles += 3 * [tile for tile in tiles if self.world.processes[tile].holds]
        tile = self.random.choice(tiles) if tiles else -1
        if what == "die":
            self.world.end(tile)
        elif what in ("hang", "wake") and tile >= 0:
            self.world.processes[tile].hung = what == "hang"
        elif what == "forget":
            self._restart_orchestrator()
        elif what == "will" and tile >= 0:
            incarnation = self.world.processes[tile].incarnation - self.random.randrange(2)
            self._fold(mesh_pb2.TileStatus(tile=tile, incarnation=incarnation, gone=True))
        elif what == "ask":
            self.ask(self._request())

    def _restart_orchestrator(self) -> None:
        """It finds what is written down, the process table, and the retained words, of dead processes too."""
        self.seen, self.failures, self.words = {}, {}, []
        self._look_at_processes()
        for said in self.retained.values():
            self._fold(said)

    def ask(self, request: orchestrator_pb2.Request) -> None:
        try:
            self.spec = apply_request(self.spec, self.world.mesh, request, self.seen)
        except UsageError:
            return

    def _request(self) -> orchestrator_pb2.Request:
        tile = self.random.randrange(self.world.mesh.width * self.world.mesh.height)
        roles = (mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP, mesh_pb2.ROLE_IDLE)
        domain = self.random.randrange(len(self.world.mesh.domains)) + 1
        name = self.world.mesh.domains[domain - 1].name
        kinds = (
            orchestrator_pb2.Request(scale=orchestrator_pb2.Scale(stack=self.random.randrange(5))),
            orchestrator_pb2.Request(scale=orchestrator_pb2.Scale(driver=self.random.randrange(3))),
            orchestrator_pb2.Request(scale=orchestrator_pb2.Scale(app={name: self.random.randrange(4)})),
            orchestrator_pb2.Request(scale=orchestrator_pb2.Scale(idle=self.random.randrange(3))),
            orchestrator_pb2.Request(
                assign=orchestrator_pb2.Pin(tile=tile, role=self.random.choice(roles), domain=domain)
            ),
            orchestrator_pb2.Request(drain=tile),
            orchestrator_pb2.Request(restart=tile),
        )
        return self.random.choice(kinds)

    # --- what must hold -------------------------------------------------------------------------------------------

    def check_holders(self) -> None:
        held = 0
        for tile, process in self.world.processes.items():
            assert not held & process.held, f"two holders, one of them tile {tile}"
            held |= process.held
        for flight in self.world.flights:
            if self.world.lands(flight):
                assert not held & flight.buckets, f"a bucket on its way to tile {flight.target} is held"
                held |= flight.buckets

    def check(self, action: Action) -> None:
        if not isinstance(action, Write):
            return
        mesh = self.world.mesh
        assert action.mesh.epoch == mesh.epoch + 1
        assert len(action.mesh.owners) == BUCKETS
        before = {entry.tile: entry for entry in mesh.tiles}
        assert before.keys() <= {entry.tile for entry in action.mesh.tiles}
        stacks = {entry.tile for entry in action.mesh.tiles if entry.role == mesh_pb2.ROLE_STACK}
        assert set(action.mesh.owners) <= stacks
        for entry in action.mesh.tiles:
            if entry.draining and not before[entry.tile].draining:
                others = [e for e in action.mesh.tiles if job(e) == job(entry) and not e.draining]
                assert others, f"tile {entry.tile} is the last of its role"
                assert entry.tile not in action.mesh.owners

    def run_until_settled(self) -> None:
        for process in self.world.processes.values():
            process.hung = False
        for _ in range(CALM):
            self.tick()
            action = self.plan()
            if isinstance(action, Wait) and action.why == SETTLED and not self.words and not self.world.moves():
                return
        raise AssertionError(f"not settled: {self.actions[-5:]}")

    def check_settled(self) -> None:
        mesh = self.world.mesh
        jobs = [job(entry) for entry in mesh.tiles]
        assert {what: jobs.count(what) for what in wanted(self.spec)} == wanted(self.spec)
        assert sum(entry.role == mesh_pb2.ROLE_IDLE for entry in mesh.tiles) >= self.spec.idle
        assert not any(entry.draining for entry in mesh.tiles)
        assert {t: p.job for t, p in self.world.processes.items()} == {e.tile: job(e) for e in mesh.tiles}
        stacks = [entry.tile for entry in mesh.tiles if entry.role == mesh_pb2.ROLE_STACK]
        assert balanced(mesh.owners, stacks, stacks) == mesh.owners
        for tile in stacks:
            assert self.world.processes[tile].held == self.world.processes[tile].owner(tile)
        for pin in self.spec.pins:
            entry = next((entry for entry in mesh.tiles if entry.tile == pin.tile), None)
            assert entry is not None
            assert (entry.role, entry.domain) == (pin.role, pin.domain)


def options(stack: int, app: int, driver: int, idle: int, domains: int) -> MeshOptions:
    several = tuple(Domain(f"d{n}", port=80 + n, app=app) for n in range(domains)) if domains > 1 else ()
    return MeshOptions(
        width=4, height=3, driver=driver, stack=stack, app=app, idle=idle, domain=several, tune={"buckets": BUCKETS}
    )
