"""Protection faults as events: one line of JSON (message FaultEvent) in the tile's status directory for each.

They stay there for whoever comes later; the bus has the news. Whoever floods a tile with bad messages fills no disk:
after MOST events the rest are only counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_node.memory.fault import Fault
from dlibos_node.noc.faults import Event, Faults

log = logging.getLogger(__name__)

MOST: Final = 10_000
INTERVAL: Final = 0.5  # seconds


class Journal:
    """Writes the events of `faults`, which tile `tile` refused; `changed` gets the lines that were written."""

    def __init__(self, path: Path, tile: int, faults: Faults, changed: Callable[[list[str]], None]) -> None:
        self._path = path
        self._tile = tile
        self._faults = faults
        self._changed = changed
        self._written = 0
        self._seen: set[tuple[int, Fault]] = set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            if self._faults.events:
                self.write()

    def write(self) -> None:
        """Write what has happened since the last call."""
        events = list(self._faults.events)
        self._faults.events.clear()
        lines = [self._line(event) for event in events[: MOST - self._written]]
        with self._path.open("a") as file:
            file.writelines(lines)
        self._written += len(lines)
        for event in events:
            self._warn(event)
        self._changed(lines)

    def _line(self, event: Event) -> str:
        said = mesh_pb2.FaultEvent(
            time=time.time(), tile=self._tile, source=event.source, reason=event.fault.value, tag=event.tag
        )
        return json_format.MessageToJson(said, indent=None, preserving_proto_field_name=True) + "\n"

    def _warn(self, event: Event) -> None:
        """Say the first of a kind; the metrics count the rest."""
        if (event.source, event.fault) not in self._seen:
            self._seen.add((event.source, event.fault))
            log.warning("protection fault: tile %d: %s (message %d)", event.source, event.fault.value, event.tag)
