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


class Dispatch:
    """Hands every waiting message to the handler that its sender's role may call.

    `tables` are by role of the sender. Without protection every tile may call all of them.
    """

    __slots__ = ("_all", "_by_source", "_checked", "_faults", "_queues", "drops")

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
        of_role = {role: {**answer, **table} for role, table in tables.items()}
        self._by_source = {peer.number: of_role[peer.role] if protected else self._all for peer in peers}
        self.drops: Counter[Drop] = Counter()

    def run(self, now: int) -> None:
        """Empty the demux queues."""
        by_source = self._by_source
        for queue in ORDER:
            messages = self._queues.drain(queue)
            if self._checked is not None:
                self._checked.roles += len(messages)
            for source, tag, payload in messages:
                entry = by_source[source].get(tag)
                if entry is None:
                    self._refuse(source, tag)
                elif len(payload) < entry[1]:
                    self.drops[Drop.LENGTH] += 1
                else:
                    entry[0](source, payload, now)

    def _refuse(self, source: int, tag: int) -> None:
        if tag in self._all:
            self._faults.report(source, Fault.ROLE, tag)
        else:
            self.drops[Drop.UNKNOWN_TAG] += 1
