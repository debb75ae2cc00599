"""What the connections of one server share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlibos_node.apps.web.request import KnownRequests
from dlibos_node.apps.web.response import DateClock
from dlibos_node.apps.web.routes import Routes
from dlibos_node.apps.web.statistics import WebStatistics

if TYPE_CHECKING:
    from dlibos_node.apps.web.connection import WebConnection


class Service:
    """Resources, remembered requests, the Date, and the totals."""

    __slots__ = ("clock", "connections", "known", "retiring", "routes", "statistics")

    def __init__(self, root: Path | None, clock: DateClock) -> None:
        self.clock: Final = clock
        self.routes: Final = Routes(root, clock)
        self.known: Final = KnownRequests()
        self.statistics: Final = WebStatistics()
        self.retiring = False
        """Connections go to other tiles of the port as soon as they can."""
        self.connections: Final[set[WebConnection]] = set()
        """Those that have not ended; each takes itself out."""
