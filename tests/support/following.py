"""A tile that follows a file: `python -m tests.support.following --dir DIR --tile N`.

It becomes part of each mesh that is written into status/N/mesh.json, which it opens while it may open files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from dlibos_node import config
from dlibos_node.__main__ import main
from dlibos_node.agent import Agent
from dlibos_node.errors import ConfigurationError
from dlibos_node.hardening.profile import status_file

POLL = 0.02  # seconds


class Following(Agent):
    """An agent that looks for a new mesh by itself."""

    async def run(self) -> None:
        """Follow, and work until SIGTERM."""
        path = status_file(self.tile, self._directory).with_name("mesh.json")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
        following = asyncio.create_task(self._follow_file(file))
        try:
            await super().run()
        finally:
            following.cancel()

    async def _follow_file(self, file: int) -> None:
        while True:
            text = os.pread(file, 1 << 20, 0).decode()
            with contextlib.suppress(ConfigurationError):  # there is none yet, or it is half written
                self.apply(config.parse(text, "mesh.json", self.tile.tile)[0])
            await asyncio.sleep(POLL)


if __name__ == "__main__":
    sys.exit(main(make=Following))
