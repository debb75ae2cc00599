"""What the orchestrator knows of the tiles: it folds in what it sees, and notices what has become of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model import observed as fold
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.plan.backoff import Failure, failed
from dlibos_orchestrator.runtime.tiles import Running

Notice = Callable[[str, int, str], None]
"""Gets the kind of an event, the tile, and what is to be said of it."""


class World:
    """The tiles as observed, by number, and how often each has failed. Times: monotonic seconds."""

    def __init__(self, notice: Notice) -> None:
        self.observed: dict[int, Observed] = {}
        self.failures: dict[int, Failure] = {}
        self._asked: set[int] = set()  # tiles whose end was asked for
        self._ready: dict[int, float] = {}  # since when
        self._notice = notice

    def processes(self, running: Mapping[int, Running], now: float) -> None:
        """Take in the process table."""
        for tile in {*self.observed, *running}:
            process = running.get(tile, Running(0, 0))
            before = self.observed.get(tile)
            self._keep(tile, fold.process(before, tile, process.pid, now, incarnation=process.incarnation), now)

    def started(self, tile: int, process: Running, role: mesh_pb2.Role.ValueType, now: float) -> None:
        """Take in a process that was just started."""
        self._asked.discard(tile)
        before = self.observed.get(tile)
        self._keep(tile, fold.process(before, tile, process.pid, now, role, process.incarnation), now)

    def killed(self, tile: int) -> None:
        """Its process is about to be ended, and that is no failure of it."""
        self._asked.add(tile)

    def failed(self, tile: int, now: float) -> None:
        """It could not even be started."""
        self.failures[tile] = failed(self.failures.get(tile), now)

    def status(self, said: mesh_pb2.TileStatus, now: float) -> None:
        """Take in what a tile says of itself, or its last will."""
        after = fold.status(self.observed.get(said.tile), said, now)
        if after is not None:
            self._keep(said.tile, after, now)

    def load(self, said: mesh_pb2.TileLoad, now: float) -> None:
        """Take in a heartbeat."""
        after = fold.load(self.observed.get(said.tile), said, now)
        if after is not None:
            self.observed[said.tile] = after

    def deaf(self, now: float) -> None:
        """Nobody could be heard until now: silence says nothing of the tiles."""
        for tile, known in self.observed.items():
            self.observed[tile] = known._replace(heard=now)

    def _keep(self, tile: int, after: Observed, now: float) -> None:
        before = self.observed.get(tile)
        self.observed[tile] = after
        if before is not None and before.alive and (not after.alive or after.pid != before.pid != 0):
            self._ended(tile, before, now)
        if after.up:
            self._ready.setdefault(tile, now)
        for kind, text in _changes(before, after):
            self._notice(kind, tile, text)

    def _ended(self, tile: int, before: Observed, now: float) -> None:
        steady = now - self._ready.pop(tile, now)
        if tile in self._asked:
            self._asked.discard(tile)
            return
        self.failures[tile] = failed(self.failures.get(tile), now, steady)
        self._notice("dead", tile, f"process {before.pid} ended{_because(before)}")


class _Change(NamedTuple):
    kind: str
    text: str


def _changes(before: Observed | None, after: Observed) -> Iterator[_Change]:
    """Yield what is worth an event."""
    same = before is not None and before.incarnation == after.incarnation
    if after.up and not (same and before is not None and before.up):
        yield _Change("ready", f"it works as {mesh_pb2.Role.Name(after.role).removeprefix('ROLE_').lower()}")
    if after.drained and not (same and before is not None and before.drained):
        yield _Change("drained", "nothing is left for it to do")
    if after.alive and after.gone and not (same and before is not None and before.gone):
        yield _Change("silent", "its connection to the bus has ended")


def _because(before: Observed) -> str:
    return f": {before.problem}" if before.problem else ""
