"""What a tile has to do, as it tells the orchestrator once a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from dlibos.control.v1 import mesh_pb2


class Load:
    """Measures the process. `connections` and `frames` are asked when somebody wants to know."""

    def __init__(self, tile: int) -> None:
        self._tile = tile
        self._wall = time.monotonic()
        self._processor = time.process_time()
        self.connections: Callable[[], int] = int
        self.frames: Callable[[], int] = int

    def take(self, incarnation: int) -> mesh_pb2.TileLoad:
        """Return the load since the last call, as the process `incarnation` says it."""
        wall, processor = time.monotonic(), time.process_time()
        busy = (processor - self._processor) / max(wall - self._wall, 1e-9)
        self._wall, self._processor = wall, processor
        return mesh_pb2.TileLoad(
            tile=self._tile,
            incarnation=incarnation,
            time=time.time(),
            busy=min(busy, 1.0),
            connections=self.connections(),
            frames=self.frames(),
        )
