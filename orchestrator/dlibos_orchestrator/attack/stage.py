"""Where attacks are performed: a mesh of two domains with compromised tiles in it, an outsider, and honest clients.

tile    1 driver   4 driver (compromised)   2 stack   9 stack (compromised)   3 app: honest   8 app (compromised)
domain                                                                            port 80         port 81

So `policy.place` puts two tiles of each role.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from dlibos_orchestrator.attack import counters
from dlibos_orchestrator.attack.counters import UNKNOWN, Counts
from dlibos_orchestrator.attack.crowd import Crowd
from dlibos_orchestrator.attack.orders import Attacker
from dlibos_orchestrator.attack.page import ATTACKER_PORT, CANARY, HONEST_PORT, Secrets
from dlibos_orchestrator.attack.verdict import PROTECTED, UNPROTECTED, Answer, Clients, Evidence
from dlibos_orchestrator.model.options import Domain, MeshOptions
from dlibos_orchestrator.runtime import local, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.observe import TileRow, observe

START_SECONDS: Final = 60.0
COMPROMISED: Final = {"driver": 4, "stack": 9, "app": 8}
HONEST: Final = (1, 2, 3)
DRIVER: Final = 1
APPLICATION: Final = 3
# Seconds until all buffers must be back; acknowledgements may be delayed by 40 ms. Without protection those not back
# soon are lost to the attack, and the mesh is brought up anew.
IDLE_SECONDS: Final = {PROTECTED: 3.0, UNPROTECTED: 1.0}
SOUND_SECONDS: Final = 2.0  # for clients to be served again after an attack they noticed
SETTLED: Final = 0.1  # seconds between two looks: longer than an acknowledgement is delayed
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

    def __init__(self, directory: MeshDirectory, mode: str, root: Path, secrets: Secrets) -> None:
        self.secrets = secrets
        self._patience = IDLE_SECONDS[mode]
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
        self._before = self._settled()

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
            "status": str(self._directory.path / "status" / str(APPLICATION) / "status.json"),
            "root": str(self._root),
            "recorded": self.recorded,
        }

    # --- what is seen from outside ------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Return what the honest tiles count now."""
        rows = [self._rows[tile] for tile in HONEST]
        return counters.together(counters.read(row.tile, row.role, row.metrics_port) for row in rows)

    def aftermath(self, who: str, expected: Collection[str]) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
        """Let the clients rest; return what was refused since the last time, and what is not as it was then.

        Waits, within bounds, for buffers to come back and for something expected to be counted.
        """
        if ended := self._ended():
            return (), tuple(f"{row.role} tile {row.tile} ended" for row in ended)
        self.crowd.ask("rest")
        attacker, deadline = COMPROMISED.get(who, UNKNOWN), time.monotonic() + self._patience
        while True:
            now = self.counts()
            fresh = now.since(self._before, attacker)
            seen = not expected or any(evidence.token in expected for evidence in fresh)
            if (seen and now.buffers == self._before.buffers) or time.monotonic() > deadline:
                break
            time.sleep(POLL)
        odd = (*_odd(self._before, now), *self._unlinked())
        self._before = now
        self.crowd.ask("go")
        return fresh, odd

    def _unlinked(self) -> tuple[str, ...]:
        """Return in words which compromised tiles have lost a link: what they tried next would prove nothing."""
        lost = [role for role in COMPROMISED if self.order(role, "links").reached is not True]
        return tuple(f"the {role} tile's links stay down" for role in lost)

    def is_sound(self, seen: Clients) -> bool:
        """Tell whether the clients are served as before, or again."""
        if not seen.errors:
            return seen.requests > 0
        before = self.crowd.counts(WARM_UP, SOUND_SECONDS)
        after = self.crowd.counts(WARM_UP, SOUND_SECONDS)
        return after.requests > before.requests and after.errors == before.errors

    def _settled(self) -> Counts:
        """Return the counts once the clients rest and two looks, some time apart, see the same buffers."""
        self.crowd.ask("rest")
        before, now = None, self.counts()
        while before is None or now.buffers != before.buffers:
            time.sleep(SETTLED)
            before, now = now, self.counts()
        self.crowd.ask("go")
        return now

    def _ended(self) -> list[TileRow]:
        running = {process.pid for process in processes.scan(self._directory.path)}
        return [row for row in self._rows.values() if row.pid not in running]


def _odd(before: Counts, now: Counts) -> tuple[str, ...]:
    """Return in words which buffers in use are more or fewer than before."""
    pools = [key for key, count in now.buffers.items() if count != before.buffers.get(key)]
    odd = [f"{now.buffers[tile, pool]} of {pool} at tile {tile}" for tile, pool in pools]
    return (f"buffers in use are not what they were: {', '.join(odd)}",) if odd else ()


@contextmanager
def stage(mode: str, root: Path, secrets: Secrets) -> Iterator[Stage]:
    """Bring the mesh up in a mode, and down whatever happens."""
    wanted = options(mode, root)
    try:
        local.up(wanted, START_SECONDS, lambda line: None)
        made = Stage(mesh_directory(wanted.name), mode, root, secrets)
        try:
            yield made
        finally:
            made.close()
    finally:
        local.down(wanted.name)
