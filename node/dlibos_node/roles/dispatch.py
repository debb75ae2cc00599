"""From demux queues to a role's methods: a table of tags for each role of sender, and one place for what fits none."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from dlibos_node.memory.fault import Fault
from dlibos_node.noc import tags
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues

Handler = Callable[[int, list[int], int], None]
"""Called with the source tile, the payload words, and now in microseconds."""

Table = Mapping[int, tuple[Handler, int]]
"""Tag to its handler and the least number of payload words."""

# Buffers that come back first, so that what follows finds them free.
ORDER: Final = (tags.RELEASES, tags.EVENTS, tags.COMMANDS, 3)


class Drop(enum.Enum):
    """Why a message was not obeyed; the value is the metric's label."""

    UNKNOWN_TAG = "unknown_tag"
    LENGTH = "wrong_length"
    GONE = "tile_gone"  # its sender has left the mesh since


class Dispatch:
    """Hands every waiting message to the handler that its sender's role may call.

    `tables` are by role of the sender. Without protection every tile may call all of them.
    """

    __slots__ = ("_all", "_by_source", "_checked", "_faults", "_of_role", "_queues", "drops")

    def __init__(
        self, queues: Queues, tables: Mapping[str, Table], peers: Iterable[Peer], faults: Faults, *, protected: bool
    ) -> None:
        answer: Table = {tags.FAULT: (faults.on_fault, 2)}
        self._queues = queues
        self._checked = faults.checked if protected else None
        self._faults = faults
        self._all: dict[int, tuple[Handler, int]] = {**answer}
        for table in tables.values():
            self._all.update(table)
        self._of_role = {role: {**answer, **table} if protected else self._all for role, table in tables.items()}
        self._by_source: dict[int, Mapping[int, tuple[Handler, int]]] = {}
        self.drops: Counter[Drop] = Counter()
        for peer in peers:
            self.admit(peer)

    def admit(self, peer: Peer) -> None:
        """Obey a tile from now on, as its role allows."""
        self._by_source[peer.number] = self._of_role[peer.role]

    def dismiss(self, peer: Peer) -> None:
        """Obey it no more: what it has said and nobody has read yet is dropped."""
        self._by_source.pop(peer.number, None)

    def run(self, now: int) -> None:
        """Empty the demux queues."""
        by_source = self._by_source
        for queue in ORDER:
            messages = self._queues.drain(queue)
            if self._checked is not None:
                self._checked.roles += len(messages)
            for source, tag, payload in messages:
                table = by_source.get(source)
                entry = table.get(tag) if table is not None else None
                if entry is None:
                    self._refuse(source, tag)
                elif len(payload) < entry[1]:
                    self.drops[Drop.LENGTH] += 1
                else:
                    entry[0](source, payload, now)

    def _refuse(self, source: int, tag: int) -> None:
        if source not in self._by_source:
            self.drops[Drop.GONE] += 1
        elif tag in self._all:
            self._faults.report(source, Fault.ROLE, tag)
        else:
            self.drops[Drop.UNKNOWN_TAG] += 1
