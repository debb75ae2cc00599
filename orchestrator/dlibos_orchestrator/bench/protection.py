"""The protection benchmark: a mesh in each mode and nginx stand at once, and wrk loads them in turns.

Idle servers cost nothing: their processes sleep. Each mesh has a network namespace of its own, in which its client
runs; nginx is joined to the protected mesh's. Read `schedule` for the order and `contrast` for what is compared.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dlibos_orchestrator.bench import contrast, load, measure, nginx, page, parts, programs, web
from dlibos_orchestrator.bench.leg import MODES, NGINX, PROTECTED, Leg
from dlibos_orchestrator.bench.schedule import CHAIN, Block, schedule
from dlibos_orchestrator.demo.load import LoadResult
from dlibos_orchestrator.errors import MachineError
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime import local, namespace, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.observe import TileRow, observe


class ProtectionPlan(NamedTuple):
    """What to measure. `connections`: counts in rising order; `seconds`: of each leg; `seed`: of the order."""

    driver: int = 1
    stack: int = 1
    app: int = 1
    connections: tuple[int, ...] = (64, 256)
    rounds: int = 10
    seconds: int = 2
    seed: int = 1
    objectives: tuple[contrast.Objective, ...] = ()


class ProtectionResult(NamedTuple):
    """All that was measured, raw and summed up."""

    plan: ProtectionPlan
    setting: web.Setting
    legs: Sequence[Leg]
    servers: Sequence[contrast.ServerSummary]
    contrasts: Sequence[contrast.Contrast]
    parts: parts.Parts
    verdicts: Sequence[contrast.Verdict]

    @property
    def errors(self) -> int:
        """Requests that got no answer or a wrong one, of all servers."""
        return sum(leg.load.errors for leg in self.legs)


class Site(NamedTuple):
    """One server and the client in its namespace. `directory` is None for nginx, whose process `reference` is."""

    server: str
    client: load.Client
    address: str
    directory: MeshDirectory | None
    rows: Sequence[TileRow]
    reference: int = 0

    def leg(self, number: int, connections: int, seconds: int) -> Leg:
        """Load the server and measure what it spends."""

        def run() -> tuple[LoadResult, float]:
            return self.client.load(self.server, self.address, connections, seconds)

        if self.directory is None:
            before = processes.cpu_seconds(self.reference)
            result, client_cpu = run()
            spent = processes.cpu_seconds(self.reference) - before
            return Leg(number, self.server, connections, result, spent, client_cpu)
        (result, client_cpu), tiles = measure.around(self.directory, self.rows, run)
        spent = sum(use.cpu_seconds for use in tiles)
        return Leg(number, self.server, connections, result, spent, client_cpu, tiles)


def run(plan: ProtectionPlan, notice: web.Notice) -> ProtectionResult:
    """Run the benchmark; nothing of it is left in the end. `notice` gets lines on how far it is."""
    programs.require_all()
    if not (found := namespace.can_have_tap()):
        raise MachineError(f"bench protection needs a kernel TAP device: {found.reason}; {found.fix}")
    load_average = os.getloadavg()[0]
    notice(f"seed {plan.seed}; first the parts, in one process: {plan.rounds} rounds")
    split = parts.measure(plan.rounds, plan.connections[0], plan.seed)
    with tempfile.TemporaryDirectory(prefix="dlibos-bench-") as folder, ExitStack() as stack:
        sites = stand(plan, Path(folder), stack)
        legs = measure_rounds(sites, plan, notice)
        setting = describe(plan, sites, load_average)
    answers = contrast.contrasts(legs, plan.connections, plan.seed)
    verdicts = contrast.verdicts(plan.objectives, answers)
    summed = contrast.summaries(legs, plan.connections)
    return ProtectionResult(plan, setting, legs, summed, answers, split, verdicts)


def stand(plan: ProtectionPlan, folder: Path, stack: ExitStack) -> dict[str, Site]:
    """Bring all servers up; they end with `stack`. Each was seen to serve the page."""
    root = folder / "www"
    page.write(root)
    keepers = {mode: stack.enter_context(web.mesh(mesh_options(plan, root, mode))) for mode in MODES}
    reference = stack.enter_context(nginx.serving(keepers[PROTECTED], folder / "nginx", root))
    sites = {mode: _mesh_site(mode, keepers[mode]) for mode in MODES}
    sites[NGINX] = Site(NGINX, sites[PROTECTED].client, nginx.ADDRESS, None, (), reference)
    for site in sites.values():
        page.check(site.client.prefix, site.server, site.address)
    return sites


def mesh_options(plan: ProtectionPlan, root: Path, mode: str) -> MeshOptions:
    """Return the mesh to bring up for a mode."""
    asked = web.WebPlan(driver=plan.driver, stack=plan.stack, app=plan.app)
    return replace(web.mesh_options(asked, root), name=_name(mode), protection=mode)


def _name(mode: str) -> str:
    return f"bench-{os.getpid()}-{mode}"


def _mesh_site(mode: str, keeper: int) -> Site:
    directory = mesh_directory(_name(mode))
    address = local.reachable_address(directory.read_mesh())
    return Site(mode, load.Client(programs.inside(keeper)), address, directory, observe(directory))


def measure_rounds(sites: dict[str, Site], plan: ProtectionPlan, notice: web.Notice) -> list[Leg]:
    """Warm every server up, then measure every round."""
    seconds = len(plan.connections) * len(CHAIN) * plan.seconds * plan.rounds
    notice(f"{plan.rounds} rounds, {len(plan.connections)} counts of connections, about {seconds} s of load")
    for site in sites.values():
        site.leg(0, max(plan.connections), web.WARM_UP_SECONDS)
    legs: list[Leg] = []
    for block in schedule(plan.rounds, plan.connections, plan.seed):
        fresh = [sites[server].leg(block.round, block.connections, plan.seconds) for server in block.servers]
        notice(progress(block, plan.rounds, fresh))
        legs += fresh
    return legs


def progress(block: Block, rounds: int, legs: Sequence[Leg]) -> str:
    """Return one line on a block that is done."""
    words = ", ".join(f"{leg.server} {leg.load.per_second:,.0f}/s" for leg in legs)
    errors = sum(leg.load.errors for leg in legs)
    return f"round {block.round}/{rounds}, {block.connections} connections: {words}" + (
        f", {errors} errors" if errors else ""
    )


def describe(plan: ProtectionPlan, sites: dict[str, Site], load_average: float) -> web.Setting:
    """Return what the figures hold for. MeshStateError when a tile got lost on the way."""
    each = [web.describe(mesh_options(plan, Path(), mode), sites[mode].rows, load_average) for mode in MODES]
    return each[0]._replace(rows=[row for setting in each for row in setting.rows])
