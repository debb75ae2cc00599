"""The web benchmark: wrk against a mesh of its own and against nginx with one worker, on the same page, interleaved.

Both servers stand while it runs; in every round, for every count of connections, one is loaded and then the other, and
the order changes from round to round, so that what else the machine does falls on both alike.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from dlibos_orchestrator import __version__
from dlibos_orchestrator.bench import load, measure, nginx, page, programs
from dlibos_orchestrator.bench.leg import MESH, NGINX, Leg
from dlibos_orchestrator.bench.summary import Comparison, Objective, compare
from dlibos_orchestrator.errors import MachineError, MeshStateError
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime import local, namespace, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.observe import TileRow, observe

LATENCY_CONNECTIONS: Final = 1  # always measured: nothing can be batched then
WARM_UP_SECONDS: Final = 1
START_SECONDS: Final = 60.0
Notice = Callable[[str], None]


class WebPlan(NamedTuple):
    """What to measure. `connections`: counts in rising order; `seconds`: of each leg; `mesh`: width, height."""

    mesh: tuple[int, int] = (6, 6)
    driver: int = 1
    stack: int = 1
    app: int = 1
    connections: tuple[int, ...] = (LATENCY_CONNECTIONS, 64, 256)
    rounds: int = 5
    seconds: int = 3
    objectives: tuple[Objective, ...] = ()


class Setting(NamedTuple):
    """What was measured, and on what."""

    mesh: MeshOptions
    rows: Sequence[TileRow]
    versions: dict[str, str]
    cpus: int
    cpu_model: str
    load_average: float  # of the minute before: what else the machine did

    @property
    def compiled(self) -> bool:
        """Whether the core of every tile ran compiled."""
        return all(row.compiled for row in self.rows)


class WebResult(NamedTuple):
    """All that was measured, raw and summed up."""

    plan: WebPlan
    setting: Setting
    legs: Sequence[Leg]
    comparisons: Sequence[Comparison]

    @property
    def errors(self) -> int:
        """Requests that got no answer or a wrong one, of both servers."""
        return sum(leg.load.errors for leg in self.legs)

    @property
    def missed(self) -> list[Objective]:
        """Objectives that were not reached."""
        return [objective for objective in self.plan.objectives if not objective.met(self.comparisons)]


class Bench(NamedTuple):
    """Both servers and the client, ready; nginx by its process id."""

    directory: MeshDirectory
    rows: Sequence[TileRow]
    reference: int
    client: load.Client
    addresses: dict[str, str]

    def leg(self, number: int, server: str, connections: int, seconds: int) -> Leg:
        """Load one server and measure everyone."""
        before = processes.cpu_seconds(self.reference)
        (result, client_cpu), tiles = measure.around(
            self.directory, self.rows, lambda: self.client.load(server, self.addresses[server], connections, seconds)
        )
        if server == NGINX:
            return Leg(number, server, connections, result, processes.cpu_seconds(self.reference) - before, client_cpu)
        return Leg(number, server, connections, result, sum(use.cpu_seconds for use in tiles), client_cpu, tiles)


def run(plan: WebPlan, notice: Notice) -> WebResult:
    """Run the benchmark; nothing of it is left in the end. `notice` gets lines on how far it is."""
    programs.require_all()
    if not (found := namespace.can_have_tap()):
        raise MachineError(f"bench web needs a kernel TAP device: {found.reason}; {found.fix}")
    load_average = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="dlibos-bench-") as folder:
        root = Path(folder) / "www"
        page.write(root)
        options = mesh_options(plan, root)
        with mesh(options) as keeper, nginx.serving(keeper, Path(folder) / "nginx", root) as reference:
            bench = prepare(options, keeper, reference)
            legs = measure_rounds(bench, plan, notice)
            setting = describe(options, bench.rows, load_average)
    return WebResult(plan, setting, legs, [compare(legs, connections) for connections in plan.connections])


def mesh_options(plan: WebPlan, root: Path) -> MeshOptions:
    """Return the mesh to bring up."""
    width, height = plan.mesh
    return MeshOptions(
        name=f"bench-{os.getpid()}",
        width=width,
        height=height,
        driver=plan.driver,
        stack=plan.stack,
        app=plan.app,
        root=root,
        nic="tap",
    )


@contextmanager
def mesh(options: MeshOptions) -> Iterator[int]:
    """Bring a mesh up, and down whatever happens; give the process id of its keeper."""
    try:
        local.up(options, START_SECONDS, lambda line: None)
        directory = mesh_directory(options.name).path
        yield next(p.pid for p in processes.scan(directory) if p.module == processes.KEEPER_MODULE)
    finally:
        local.down(options.name)


def prepare(options: MeshOptions, keeper: int, reference: int) -> Bench:
    """Return the bench once both servers were seen to serve the page."""
    directory = mesh_directory(options.name)
    addresses = {MESH: local.reachable_address(directory.read_mesh()), NGINX: nginx.ADDRESS}
    prefix = programs.inside(keeper)
    for server, address in addresses.items():
        page.check(prefix, server, address)
    return Bench(directory, observe(directory), reference, load.Client(prefix), addresses)


def measure_rounds(bench: Bench, plan: WebPlan, notice: Notice) -> list[Leg]:
    """Warm both servers up, then measure every round."""
    seconds = len(plan.connections) * 2 * plan.seconds * plan.rounds
    notice(f"{plan.rounds} rounds, {len(plan.connections)} counts of connections, about {seconds} s of load")
    for server in (MESH, NGINX):
        bench.leg(0, server, max(plan.connections), WARM_UP_SECONDS)
    legs: list[Leg] = []
    for number in range(1, plan.rounds + 1):
        for connections in plan.connections:
            pair = [bench.leg(number, server, connections, plan.seconds) for server in order(number)]
            notice(f"round {number}/{plan.rounds}, {_progress(pair)}")
            legs += pair
    return legs


def order(number: int) -> tuple[str, str]:
    """Return who is loaded first and who second in round `number`."""
    return (MESH, NGINX) if number % 2 else (NGINX, MESH)


def _progress(pair: Sequence[Leg]) -> str:
    rates = {leg.server: leg.load.per_second for leg in pair}
    words = f"mesh {rates[MESH]:,.0f}/s, nginx {rates[NGINX]:,.0f}/s, ratio {rates[MESH] / rates[NGINX]:.2f}"
    errors = sum(leg.load.errors for leg in pair)
    return f"{pair[0].connections} connections: {words}" + (f", {errors} errors" if errors else "")


def describe(options: MeshOptions, rows: Sequence[TileRow], load_average: float) -> Setting:
    """Return what the figures hold for. MeshStateError when a tile got lost on the way."""
    if lost := [row for row in observe(mesh_directory(options.name)) if row.pid not in {old.pid for old in rows}]:
        raise MeshStateError(f"tile {lost[0].tile} ({lost[0].role}) did not last: {lost[0].problem or lost[0].state}")
    versions = {
        "dlibos": __version__,
        "python": platform.python_version(),
        "grpcio": metadata.version("grpcio"),
        "nginx": nginx.version(),
        "wrk": load.version(),
        "kernel": platform.release(),
    }
    return Setting(options, rows, versions, len(os.sched_getaffinity(0)), cpu_model(), load_average)


def cpu_model() -> str:
    """Return the processor's name as the kernel has it, "" where it has none."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
