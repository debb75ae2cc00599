"""Clients whose stack tile died: made to say what they expect, so that the answer ends their connection at once."""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

from dlibos_node.memory.fault import Fault
from dlibos_node.noc import tags
from dlibos_node.noc.faults import Faults
from dlibos_node.roles.tx import TxPort
from dlibos_node.stack.host import Host

MOST: Final = 65536  # connections that may wait for a driver tile


class Drop(enum.Enum):
    """Why a client was not told; the value is the metric's label."""

    ALIVE = "orphan_is_served"  # it has a connection with these numbers
    MANY = "too_many_orphans"


class Orphans:
    """`neighbour` is the MAC of the next hop: the connection that knew its peer's is gone."""

    def __init__(
        self,
        host: Host,
        port: TxPort,
        ports: Mapping[int, frozenset[int]],
        faults: Faults,
        neighbour: bytes,
        *,
        protected: bool,
    ) -> None:
        self.drops: Counter[Drop] = Counter()
        self.told = 0
        self._host = host
        self._port = port
        self._ports = ports
        self._faults = faults
        self._neighbour = neighbour
        self._protected = protected
        self._waiting: deque[int] = deque()

    def on_orphans(self, source: int, payload: list[int], _now: int) -> None:
        """ORPHANS: an application may speak of clients of its own ports only."""
        for key in payload:
            if self._protected and key & 0xFFFF not in self._ports[source]:
                self._faults.report(source, Fault.PORT, tags.ORPHANS)
            elif len(self._waiting) >= MOST:
                self.drops[Drop.MANY] += 1
            else:
                self._waiting.append(key)
        self.knock()

    def knock(self) -> None:
        """Tell those that wait, if there is a way out."""
        drivers = self._port.drivers
        while drivers and self._waiting:
            key = self._waiting.popleft()
            if self._host.flows.knock(key, drivers[key % len(drivers)].number, self._neighbour):
                self.told += 1
            else:
                self.drops[Drop.ALIVE] += 1
