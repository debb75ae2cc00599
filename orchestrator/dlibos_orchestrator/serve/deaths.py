"""Notices at once that a process has ended, whoever's child it was. Read pidfd_open(2)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection


class Deaths:
    """Calls `ended` when one of the watched processes has ended. For the running loop."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._descriptors: dict[int, int] = {}

    def watch(self, pids: Collection[int]) -> None:
        """Watch these processes, and no others."""
        for pid in self._descriptors.keys() - set(pids):
            self._forget(pid)
        for pid in set(pids) - self._descriptors.keys():
            self._follow(pid)

    def close(self) -> None:
        """Watch nothing any more."""
        self.watch(())

    def _follow(self, pid: int) -> None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            asyncio.get_running_loop().call_soon(self._ended)
            return
        self._descriptors[pid] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._on_end, pid)

    def _on_end(self, pid: int) -> None:
        self._forget(pid)
        self._ended()

    def _forget(self, pid: int) -> None:
        descriptor = self._descriptors.pop(pid)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
