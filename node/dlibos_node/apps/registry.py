"""The applications a tile can run, by kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from dlibos_node.apps.web.server import WebServer
from dlibos_node.apps.web.statistics import WebStatistics
from dlibos_node.errors import ConfigurationError
from dlibos_node.sockets.api import Connection, Handler, Timers


class App(Protocol):
    """One running application."""

    @property
    def statistics(self) -> WebStatistics:
        """What it counted."""

    def accept(self, connection: Connection) -> Handler:
        """Take a new connection."""

    def retire(self) -> None:
        """The tile is to end: part with each connection as soon as its client does not notice."""


class Kind:
    """How to start one kind of application. `port` is where it listens unless told otherwise."""

    __slots__ = ("port", "start")

    def __init__(self, port: int, start: Callable[[str, Timers], App]) -> None:
        self.port: Final = port
        self.start: Final = start


def find(kind: str) -> Kind:
    """Return the kind of that name."""
    known = KINDS.get(kind)
    if known is None:
        raise ConfigurationError(f"no application is of kind {kind!r}; known kinds: {', '.join(sorted(KINDS))}")
    return known


def _web(root: str, timers: Timers) -> App:
    return WebServer(Path(root) if root else None, timers)


KINDS: Final = {"web": Kind(80, _web)}
