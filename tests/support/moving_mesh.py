"""`python -m tests.support.moving_mesh ...` is `dlibos ...` whose tiles are `moved_tile`s."""

from __future__ import annotations

import sys

from dlibos_orchestrator.cli.main import run
from dlibos_orchestrator.runtime import processes

MODULE = "tests.support.moved_tile"

if __name__ == "__main__":
    processes.TILE_MODULE = MODULE  # type: ignore[misc]  # the test's own kind of tile
    processes.MODULES = (*processes.MODULES, MODULE)  # type: ignore[misc, assignment]
    sys.exit(run())
