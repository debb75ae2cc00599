"""Where attacks are performed: a mesh of two domains with compromised tiles in it, an outsider, and honest clients.

tile    0 driver   1 driver (compromised)   2 stack   3 stack (compromised)   4 app: honest   5 app (compromised)
domain                                                                            port 80         port 81
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from dlibos_orchestrator.attack import counters
from dlibos_orchestrator.attack.crowd import Crowd
from dlibos_orchestrator.attack.orders import Attacker
from dlibos_orchestrator.attack.page import ATTACKER_PORT, CANARY, HONEST_PORT, Secrets
from dlibos_orchestrator.attack.verdict import Answer, Evidence
from dlibos_orchestrator.model.options import Domain, MeshOptions
from dlibos_orchestrator.runtime import local, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.observe import TileRow, observe

START_SECONDS: Final = 60.0
COMPROMISED: Final = {"driver": 1, "stack": 3, "app": 5}
HONEST: Final = (0, 2, 4)
APPLICATION: Final = 4
NOBODY: Final = -1  # the tile of the outsider
IDLE_SECONDS: Final = 3.0  # until all buffers must be back: acknowledgements may be delayed by 40 ms
POLL: Final = 0.01
WARM_UP: Final = 2  # rounds


def options(mode: str, root: Path) -> MeshOptions:
    """Return the mesh; `root` is what the honest domain serves."""
    honest = Domain("honest", port=HONEST_PORT, root=root)
    attacker = Domain("attacker", port=ATTACKER_PORT)
    return MeshOptions(
        name=f"attack-{os.getpid()}",
        driver=2,
        stack=2,
        nic="tap",
        protection=mode,
        domain=(honest, attacker),
        compromised=frozenset(COMPROMISED.values()),
    )


class Stage:
    """The mesh at `directory`, up, with clients that are being served."""

    def __init__(self, directory: MeshDirectory, root: Path, secrets: Secrets) -> None:
        self.secrets = secrets
        self.recorded: tuple[str, ...] = ()
        self._root = root
        self._directory = directory
        self._rows = {row.tile: row for row in observe(directory)}
        log = directory.log_file("outsider")
        processes.spawn(processes.OUTSIDER_MODULE, directory.path, [], log)
        sockets = {role: str(tile) for role, tile in COMPROMISED.items()} | {"outsider": "outsider"}
        self._attackers = {who: Attacker(directory.path / "attack" / f"{name}.sock") for who, name in sockets.items()}
        self.crowd = Crowd(directory.path, secrets)
        self.crowd.ask("go")
        self.crowd.counts(WARM_UP, START_SECONDS)

    def close(self) -> None:
        """End the clients; the mesh is its owner's to take down."""
        for attacker in self._attackers.values():
            attacker.close()
        self.crowd.close()

    def order(self, who: str, name: str) -> Answer:
        """Have an attack performed."""
        return self._attackers[who].order(name, self._order())

    def _order(self) -> Mapping[str, Any]:
        return {
            "pids": {tile: row.pid for tile, row in self._rows.items()},
            "canary": CANARY,
            "status": str(self._directory.path / "status" / f"{APPLICATION}.json"),
            "root": str(self._root),
            "recorded": self.recorded,
        }

    # --- what is seen from outside ------------------------------------------------------------------------------

    def refused(self, who: str) -> Counter[Evidence]:
        """Return what the honest tiles have refused to an attacker so far."""
        total: Counter[Evidence] = Counter()
        for counts in self._counts(COMPROMISED.get(who, NOBODY)):
            total += counts.refused
        return total

    def refused_since(
        self, who: str, before: Counter[Evidence], expected: Collection[str], patience: float
    ) -> tuple[Evidence, ...]:
        """Return what was refused since `before`, once something expected is among it or `patience` is over."""
        deadline = time.monotonic() + patience
        while True:
            fresh = tuple(self.refused(who) - before)
            if time.monotonic() > deadline or any(evidence.token in expected for evidence in fresh):
                return fresh
            time.sleep(POLL)

    def buffers(self, tile: int) -> dict[str, int]:
        """Return a tile's buffers in use, by pool."""
        row = self._rows[tile]
        return counters.read(tile, row.role, row.metrics_port, NOBODY).buffers

    def _counts(self, attacker: int) -> list[counters.Counts]:
        return [counters.read(t, self._rows[t].role, self._rows[t].metrics_port, attacker) for t in HONEST]

    def damage(self) -> tuple[str, ...]:
        """Let the clients rest; return what is not as it was: tiles that ended, buffers that do not come back."""
        found = [f"{row.role} tile {row.tile} ended" for row in self._ended()]
        if not any(row.tile in HONEST for row in self._ended()):
            self.crowd.ask("rest")
            found += self._kept()
            self.crowd.ask("go")
        return tuple(found)

    def _ended(self) -> list[TileRow]:
        running = {process.pid for process in processes.scan(self._directory.path)}
        return [row for row in self._rows.values() if row.pid not in running]

    def _kept(self) -> list[str]:
        deadline = time.monotonic() + IDLE_SECONDS
        while held := [f"{n} of {pool} at tile {t}" for t in HONEST for pool, n in self.buffers(t).items() if n]:
            if time.monotonic() > deadline:
                return [f"buffers do not come back: {', '.join(held)}"]
            time.sleep(POLL)
        return []


@contextmanager
def stage(mode: str, root: Path, secrets: Secrets) -> Iterator[Stage]:
    """Bring the mesh up in a mode, and down whatever happens."""
    wanted = options(mode, root)
    try:
        local.up(wanted, START_SECONDS, lambda line: None)
        made = Stage(mesh_directory(wanted.name), root, secrets)
        try:
            yield made
        finally:
            made.close()
    finally:
        local.down(wanted.name)
