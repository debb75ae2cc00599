"""`dlibos bench soak`: many requests and many deaths, and what is left of them in those who live on.

A mesh has two tiles of each role. The second ones are killed over and over, in random order, and started again, while
wrk keeps all of them busy. The first ones live through it all: what they have in the end, at rest, beyond what they had
in the beginning, at rest, has leaked.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2
from prometheus_client.parser import text_string_to_metric_families

from dlibos_orchestrator.bench import programs
from dlibos_orchestrator.bench.load import parse_requests
from dlibos_orchestrator.errors import MachineError, MeshStateError
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime import local, namespace, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.observe import observe
from dlibos_orchestrator.runtime.wait import Watch

Notice = Callable[[str], None]
START_SECONDS: Final = 60.0
REST_SECONDS: Final = 20.0  # until connections that a death cut off have timed out or were reset
POLL: Final = 0.2  # seconds
TELL: Final = 10.0  # seconds between two words on how far it is
SPELL: Final = 10  # seconds of one run of wrk
CONNECTIONS: Final = 64
ROLES: Final = (mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP)
RSS_SLACK: Final = 16 << 20  # bytes an allocator may keep


class SoakPlan(NamedTuple):
    """How long: both counts must be reached."""

    requests: int
    deaths: int
    seed: int


class Holdings(NamedTuple):
    """What one tile has at rest. Mappings are those of partitions."""

    tile: int
    role: str
    pid: int
    buffers: int
    connections: int
    descriptors: int
    mappings: int
    rss_bytes: int


class SoakResult(NamedTuple):
    """What was done, and what the tiles that lived on had before and after."""

    requests: int
    deaths: int
    seconds: float
    before: Sequence[Holdings]
    after: Sequence[Holdings]

    @property
    def leaks(self) -> list[str]:
        """What is more than it was, in words."""
        return [words for one, other in zip(self.before, self.after, strict=True) for words in grown(one, other)]


def grown(before: Holdings, after: Holdings) -> list[str]:
    """Return what a tile has more of than before."""
    if before.pid != after.pid:
        return [f"tile {before.tile} ({before.role}) did not live through it"]
    names = ("buffers", "connections", "descriptors", "mappings")
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in names]
    words = [f"tile {before.tile} ({before.role}): {name} {old} -> {new}" for name, old, new in pairs if new > old]
    if after.rss_bytes > before.rss_bytes + RSS_SLACK:
        words.append(f"tile {before.tile} ({before.role}): RSS {before.rss_bytes >> 20} -> {after.rss_bytes >> 20} MiB")
    return words


def run(plan: SoakPlan, notice: Notice) -> SoakResult:
    """Soak a mesh; nothing of it is left in the end."""
    if not (found := namespace.can_have_tap()):
        raise MachineError(f"bench soak needs a kernel TAP device: {found.reason}; {found.fix}")
    options = MeshOptions(name=f"soak-{os.getpid()}", driver=2, stack=2, app=2, nic="tap")
    try:
        local.up(options, START_SECONDS, lambda line: None)
        return _soak(mesh_directory(options.name), plan, notice)
    finally:
        local.down(options.name)


def _soak(directory: MeshDirectory, plan: SoakPlan, notice: Notice) -> SoakResult:
    mesh = directory.read_mesh()
    victims = [[tile for tile in mesh.tiles if tile.role == role][1] for role in ROLES]
    survivors = {tile.tile for tile in mesh.tiles} - {tile.tile for tile in victims}
    keeper = next(p.pid for p in processes.scan(directory.path) if p.module == processes.KEEPER_MODULE)
    roll, load, deaths = random.Random(plan.seed), Load(keeper, mesh), 0  # noqa: S311
    with load.running():
        load.warm_up()
    before = at_rest(directory, survivors)
    began = told = time.monotonic()
    with load.running():
        while load.requests < plan.requests or deaths < plan.deaths:
            if deaths < plan.deaths:
                replace(directory, mesh, roll.choice(victims))
                deaths += 1
            load.keep_going()
            if (now := time.monotonic()) > told + TELL:
                told = now
                notice(f"{load.requests:,} requests, {deaths} deaths, {now - began:.0f} s")
    seconds = time.monotonic() - began
    return SoakResult(load.requests, deaths, seconds, before, at_rest(directory, survivors))


def replace(directory: MeshDirectory, mesh: mesh_pb2.Mesh, tile: mesh_pb2.Tile) -> None:
    """Kill a tile; return when the orchestrator has started it again and all are ready."""
    pid = pid_of(directory, tile.tile)
    if not pid:
        raise MeshStateError(f"tile {tile.tile} had ended by itself; see `dlibos logs --name {directory.path.name}`")
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + START_SECONDS
    while pid_of(directory, tile.tile) in {0, pid}:
        if time.monotonic() > deadline:
            raise MeshStateError(f"tile {tile.tile} was not started again in {START_SECONDS:g} s")
        time.sleep(POLL / 10)
    Watch(directory, mesh, first=False).ready(START_SECONDS)


def pid_of(directory: MeshDirectory, tile: int) -> int:
    """Return the process of a tile, 0 when there is none."""
    return next((process.pid for process in processes.scan(directory.path) if process.tile == tile), 0)


class Load:
    """Wrk in the mesh's namespace, one spell after the other; `requests` counts what was answered."""

    def __init__(self, keeper: int, mesh: mesh_pb2.Mesh) -> None:
        self.requests = 0
        url = f"http://{local.reachable_address(mesh)}/"
        wrk = [programs.path_of("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SPELL}s", url]
        self._command = [*programs.inside(keeper), *wrk]
        self._process: subprocess.Popen[str] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Load until the block ends, and let the last spell finish."""
        self._start()
        try:
            yield
        finally:
            self._finish()

    def warm_up(self) -> None:
        """Return when every tile has served."""
        time.sleep(1)

    def keep_going(self) -> None:
        """Count a spell that has ended and begin the next; wait a moment where nothing else is to be done."""
        if self._process is not None and self._process.poll() is not None:
            self._finish()
            self._start()
        time.sleep(POLL / 10)

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)

    def _finish(self) -> None:
        if self._process is not None:
            text, _ = self._process.communicate(timeout=SPELL + START_SECONDS)
            self.requests += parse_requests(text)
            self._process = None


def at_rest(directory: MeshDirectory, tiles: set[int]) -> list[Holdings]:
    """Return what tiles have once their connections are gone, or after REST_SECONDS."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        found = [hold(row.tile, row.role, row.pid, row.metrics_port) for row in observe(directory) if row.tile in tiles]
        if not sum(one.connections + one.buffers for one in found) or time.monotonic() > deadline:
            return found
        time.sleep(POLL)


def hold(tile: int, role: str, pid: int, port: int) -> Holdings:
    """Return what a tile has now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=START_SECONDS) as answer:
        buffers, connections = parse_held(answer.read().decode())
    resident = processes.resident_bytes(pid)
    return Holdings(tile, role, pid, buffers, connections, count_descriptors(pid), count_mappings(pid), resident)


def count_descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def count_mappings(pid: int) -> int:
    """Return how many mappings of partitions a process has."""
    return Path(f"/proc/{pid}/maps").read_text().count("/memfd:dlibos-")


def parse_held(text: str) -> tuple[int, int]:
    """Return buffers and connections from a tile's metrics."""
    sums = {"dlibos_buffers_in_use": 0.0, "dlibos_connections": 0.0, "dlibos_application_connections": 0.0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in sums:
                sums[sample.name] += sample.value
    buffers = sums.pop("dlibos_buffers_in_use")
    return int(buffers), int(sum(sums.values()))
