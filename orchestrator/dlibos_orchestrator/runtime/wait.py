"""Waiting for tiles: until they are started, until they are ready, or until it is clear that they will not be."""

from __future__ import annotations

import time
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import StartError
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.observe import has_orchestrator
from dlibos_orchestrator.runtime.start import ORCHESTRATOR_LOG
from dlibos_orchestrator.runtime.words import last_words

POLL: Final = 0.02  # seconds
START_SECONDS: Final = 20.0  # until every tile has a process, on a machine however busy


class Watch:
    """Looks at the tiles of a mesh. `first`: they have never run, and one that ends has failed; else it is healed."""

    def __init__(self, directory: MeshDirectory, mesh: mesh_pb2.Mesh, *, first: bool) -> None:
        self._directory = directory
        self._tiles = [tile.tile for tile in mesh.tiles]
        self._first = first
        self._pids: dict[int, int] = {}  # the first process of each tile

    def started(self) -> None:
        """Return when every tile has, or had, a process. StartError."""
        deadline = time.monotonic() + START_SECONDS
        waiting = set(self._tiles)
        while waiting:
            spoken, pids = self._look()
            waiting -= spoken | set(pids)
            if time.monotonic() > deadline:
                raise StartError(
                    f"{len(waiting)} of {len(self._tiles)} tiles were not started in {START_SECONDS:g} s; "
                    f"the orchestrator: {self._words(ORCHESTRATOR_LOG) or 'no word'}"
                )
            time.sleep(POLL)

    def ready(self, timeout: float) -> None:
        """Return when every tile says it is ready; StartError when one has a problem, ends, or takes too long."""
        deadline = time.monotonic() + timeout
        waiting = self._tiles
        while True:
            spoken, pids = self._look()
            waiting = [tile for tile in waiting if not self._ready(tile, pids.get(tile, 0), spoke=tile in spoken)]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise StartError(
                    f"{len(waiting)} of {len(self._tiles)} tiles were not ready after {timeout:g} s "
                    f"({self._said(waiting[0])}); try a longer --timeout"
                )
            time.sleep(POLL)

    def _look(self) -> tuple[set[int], dict[int, int]]:
        """Return the tiles whose log says something, and after that the processes of those that run. StartError."""
        spoken = {tile for tile in self._tiles if self._words(f"tile-{tile}")} if self._first else set()
        running = processes.scan(self._directory.path)
        if not has_orchestrator(running):
            raise StartError(f"the orchestrator ended: {self._words(ORCHESTRATOR_LOG) or 'without a word'}")
        return spoken, {process.tile: process.pid for process in running if process.tile is not None}

    def _ready(self, tile: int, pid: int, *, spoke: bool) -> bool:
        status = self._directory.read_status(tile)
        own = status is not None and pid == status.pid
        if status is not None and status.problem and (own or self._first):
            raise StartError(f"tile {tile}: {status.problem}")
        if self._first and self._has_ended(tile, pid, spoke=spoke):
            raise StartError(f"tile {tile} ended: {self._words(f'tile-{tile}') or 'without a word'}")
        return status is not None and own and status.ready

    def _has_ended(self, tile: int, pid: int, *, spoke: bool) -> bool:
        """Tell whether the first process of a tile is over: another has its place, or none where one was or spoke."""
        if not pid:
            return spoke or tile in self._pids
        return self._pids.setdefault(tile, pid) != pid

    def _said(self, tile: int) -> str:
        """Return what is known of a tile that is not ready: its own last words, or those of who starts it."""
        if words := self._words(f"tile-{tile}"):
            return f"tile {tile}: {words}"
        return f"tile {tile}: no word; the orchestrator: {self._words(ORCHESTRATOR_LOG) or 'no word'}"

    def _words(self, process: str) -> str:
        return last_words(self._directory.log_file(process))
