"""The web server as the agent starts it: one object per app tile, one handler per connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.connection import WebConnection
from dlibos_node.apps.web.response import DateClock
from dlibos_node.apps.web.service import Service
from dlibos_node.apps.web.statistics import WebStatistics
from dlibos_node.errors import ConfigurationError
from dlibos_node.sockets.api import Connection, Handler, Timers


class WebServer:
    """HTTP/1.1 over the connections of one tile.

    `root` is the directory whose files are served, None for the built-in page alone. `now` gives seconds since the
    epoch, for the Date field.
    """

    __slots__ = ("_service", "_timers", "_watching", "statistics")

    def __init__(self, root: Path | None, timers: Timers, now: Callable[[], float] = time.time) -> None:
        if root is not None and not root.is_dir():
            raise ConfigurationError(f"web server: {root} is not a directory; name one that exists, or none")
        self._timers: Final = timers
        self._watching = False
        self._service: Final = Service(root, DateClock(now))
        self.statistics: Final[WebStatistics] = self._service.statistics

    def accept(self, connection: Connection) -> Handler:
        """Take a new connection."""
        handler = WebConnection(connection, self._service)
        self._service.connections.add(handler)
        self.statistics.accepted += 1
        self.statistics.open += 1
        self._watch()
        if self._service.retiring:
            handler.part()
        return handler

    def retire(self) -> None:
        """Hand every connection over between two requests, or close it with an answer where nobody else can take it."""
        self._service.retiring = True
        for handler in tuple(self._service.connections):
            handler.part()

    def _watch(self) -> None:
        # One timer for all connections, and none while there are no connections.
        if self._service.connections and not self._watching:
            self._watching = True
            self._timers.call_later(limits.TICK, self._tick)

    def _tick(self) -> None:
        self._watching = False
        for handler in tuple(self._service.connections):
            handler.tick()
        self._watch()
