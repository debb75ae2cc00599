"""Who listens on which port: the application tiles that share it, and its backlog of half-open connections."""

from __future__ import annotations

import errno


class Listener:
    """One TCP port. New connections go to its application tiles in turn."""

    __slots__ = ("apps", "backlog", "half_open", "port", "turn")

    def __init__(self, port: int, backlog: int) -> None:
        self.port = port
        self.backlog = backlog
        self.half_open = 0
        self.apps: list[int] = []
        self.turn = 0

    def next_app(self) -> int:
        """Return the tile the next connection belongs to."""
        self.turn = (self.turn + 1) % len(self.apps)
        return self.apps[self.turn]

    def other_than(self, app: int) -> int | None:
        """Return the tile that may have a connection of `app`, None when `app` alone is left."""
        others = [number for number in self.apps if number != app]
        self.turn += 1
        return others[self.turn % len(others)] if others else None


class Listeners:
    """All ports that are listened on."""

    __slots__ = ("_ports", "default_backlog")

    def __init__(self, default_backlog: int) -> None:
        self._ports: dict[int, Listener] = {}
        self.default_backlog = default_backlog

    def find(self, port: int) -> Listener | None:
        """Return the listener of a port."""
        return self._ports.get(port)

    def add(self, port: int, app: int, backlog: int) -> int:
        """Let `app` share a port; 0, or the errno that says why not."""
        if not 0 < port < 1 << 16:
            return errno.EINVAL
        listener = self._ports.get(port)
        if listener is None:
            listener = self._ports[port] = Listener(port, backlog or self.default_backlog)
        if app not in listener.apps:
            listener.apps.append(app)
        return 0

    def remove(self, app: int) -> None:
        """Forget an application tile; a port that nobody shares any more is closed."""
        for port in list(self._ports):
            self.leave(port, app)

    def leave(self, port: int, app: int) -> Listener | None:
        """Let `app` share a port no more; return the listener if others do, else the port is closed."""
        listener = self._ports.get(port)
        if listener is None:
            return None
        if app in listener.apps:
            listener.apps.remove(app)
        if listener.apps:
            return listener
        del self._ports[port]
        return None
