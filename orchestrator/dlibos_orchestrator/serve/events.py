"""What has happened to the mesh, for people: the last events, and each of them on the bus."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

KEPT: Final = 1000
AGAIN: Final = 1.0  # seconds before the same fault is an event again: a flood must not wash everything else away


class Events:
    """`publish` gets each event once."""

    def __init__(self, publish: Callable[[orchestrator_pb2.Event], None]) -> None:
        self.last: deque[orchestrator_pb2.Event] = deque(maxlen=KEPT)
        self._publish = publish
        self._faults: dict[tuple[int, int, str], float] = {}

    def add(self, kind: str, tile: int, text: str) -> None:
        """Note an event; tile -1: it is about none."""
        event = orchestrator_pb2.Event(time=time.time(), kind=kind, tile=tile, text=text)
        self.last.append(event)
        self._publish(event)

    def fault(self, fault: mesh_pb2.FaultEvent) -> None:
        """Note that a tile refused a message."""
        key, now = (fault.tile, fault.source, fault.reason[:64]), time.monotonic()
        if now - self._faults.get(key, -AGAIN) < AGAIN:
            return
        if len(self._faults) >= KEPT:
            self._faults.clear()
        self._faults[key] = now
        self.add("fault", fault.tile, f"refused a message of tile {fault.source}: {key[2]}")
