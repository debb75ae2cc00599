"""From demux queues to a role's methods: one table of tags, one place that counts what fits none."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from dlibos_node.noc import tags
from dlibos_node.noc.queues import Queues

Handler = Callable[[int, list[int], int], None]
"""Called with the source tile, the payload words, and now in microseconds."""

# Buffers that come back first, so that what follows finds them free.
ORDER: Final = (tags.RELEASES, tags.EVENTS, tags.COMMANDS, 3)


class Drop(enum.Enum):
    """Why a message was not obeyed; the value is the metric's label."""

    UNKNOWN_TAG = "unknown_tag"
    LENGTH = "wrong_length"


class Dispatch:
    """Hands every waiting message to its handler. `table`: tag to (handler, least number of payload words)."""

    __slots__ = ("_queues", "_table", "drops")

    def __init__(self, queues: Queues, table: Mapping[int, tuple[Handler, int]]) -> None:
        self._queues = queues
        self._table = dict(table)
        self.drops: Counter[Drop] = Counter()

    def run(self, now: int) -> None:
        """Empty the demux queues."""
        table = self._table
        for queue in ORDER:
            for source, tag, payload in self._queues.drain(queue):
                entry = table.get(tag)
                if entry is None:
                    self.drops[Drop.UNKNOWN_TAG] += 1
                elif len(payload) < entry[1]:
                    self.drops[Drop.LENGTH] += 1
                else:
                    entry[0](source, payload, now)
