"""A tile that applies what a file in its status directory says, for tests of a mesh that changes without a bus."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_node.__main__ import main
from dlibos_node.agent import Agent
from dlibos_node.hardening.profile import status_file

POLL: Final = 0.005  # seconds
NAME: Final = "next.json"
MOST: Final = 1 << 20  # bytes


class MovedTile(Agent):
    """The file is opened before the tile is hardened: later it may not open any."""

    _next = -1
    _polling: asyncio.Task[None] | None = None

    def _harden(self) -> None:
        path = status_file(self.tile, self._directory).with_name(NAME)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._next = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
        self._polling = asyncio.create_task(self._poll())
        super()._harden()

    async def _poll(self) -> None:
        while True:
            text = os.pread(self._next, MOST, 0)
            # Half written, it does not parse; the next look finds all of it.
            try:
                mesh = json_format.Parse(text, mesh_pb2.Mesh()) if text else None
            except json_format.ParseError:
                mesh = None
            if mesh is not None:
                self.apply(mesh)
            await asyncio.sleep(POLL)


if __name__ == "__main__":
    sys.exit(main(make=MovedTile))
