"""What a tile has to do, as it tells the orchestrator once a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from dlibos.control.v1 import mesh_pb2


class Load:
    """Measures the process. `connections` and `frames` are asked when somebody wants to know."""

    def __init__(self, tile: int, incarnation: int) -> None:
        self._tile = tile
        self._incarnation = incarnation
        self._wall = time.monotonic()
        self._processor = time.process_time()
        self.connections: Callable[[], int] = int
        self.frames: Callable[[], int] = int

    def take(self) -> mesh_pb2.TileLoad:
        """Return the load since the last call."""
        wall, processor = time.monotonic(), time.process_time()
        busy = (processor - self._processor) / max(wall - self._wall, 1e-9)
        self._wall, self._processor = wall, processor
        return mesh_pb2.TileLoad(
            tile=self._tile,
            incarnation=self._incarnation,
            time=time.time(),
            busy=min(busy, 1.0),
            connections=self.connections(),
            frames=self.frames(),
        )
