"""`python -m dlibos_orchestrator.serve --dir DIR`: starts every tile of mesh.json that does not run, for ever."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dlibos_orchestrator.errors import OrchestratorError
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.tiles import Runtime

POLL: Final = 0.05  # seconds between two looks at the process table
BACK_OFF_FIRST: Final = 0.5  # seconds between the second and the third start of a tile that ends again and again
BACK_OFF_LAST: Final = 30.0
STEADY: Final = 1.0  # seconds after which the end of a tile is a new story


class Start(NamedTuple):
    """The last start of a tile, in monotonic seconds, and how long the next has to wait from then on."""

    at: float
    back_off: float


class Healer:
    """Starts what does not run, each tile's failures counted by themselves."""

    def __init__(self, directory: MeshDirectory) -> None:
        self._directory = directory
        self._runtime = Runtime(directory)
        self._starts: dict[int, Start] = {}

    def look(self, now: float) -> None:
        """Start what does not run and may be started again at `now`."""
        mesh, running = self._directory.read_mesh(), self._runtime.running()
        for tile in [entry.tile for entry in mesh.tiles if entry.tile not in running]:
            last = self._starts.get(tile)
            if last is not None and now < last.at + last.back_off:
                continue
            self._starts[tile] = Start(now, _back_off(last, now))
            self._runtime.start(mesh, tile, time.time_ns())


def _back_off(last: Start | None, now: float) -> float:
    if last is None or now > last.at + last.back_off + STEADY:
        return 0.0
    return min(max(last.back_off * 2, BACK_OFF_FIRST), BACK_OFF_LAST)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until it is ended."""
    parser = argparse.ArgumentParser(prog="serve")
    parser.add_argument("--dir", required=True, type=Path)
    healer = Healer(MeshDirectory(parser.parse_args(arguments).dir))
    while True:
        try:
            healer.look(time.monotonic())
        except (OrchestratorError, OSError) as error:
            print(f"dlibos: {error}", file=sys.stderr, flush=True)
            time.sleep(BACK_OFF_FIRST)
        time.sleep(POLL)


if __name__ == "__main__":
    sys.exit(main())
