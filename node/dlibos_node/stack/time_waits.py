"""All connections of a host in TIME-WAIT, by key, until their time is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from dlibos_node.tcp.time_wait import TimeWait
from dlibos_node.tcp.timers import NEVER

LIMIT: Final = 16384


class TimeWaits:
    """At most LIMIT records; beyond that the oldest are forgotten."""

    __slots__ = ("_order", "_records")

    def __init__(self) -> None:
        self._records: dict[int, TimeWait] = {}
        self._order: deque[tuple[int, int]] = deque()  # (expiry, key), oldest first: one length for all

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: int) -> TimeWait | None:
        """Return the record of a key."""
        return self._records.get(key)

    def add(self, key: int, record: TimeWait) -> None:
        """Take a connection in."""
        while len(self._records) >= LIMIT:
            self._records.pop(self._order.popleft()[1], None)
        self._records[key] = record
        self._order.append((record.expiry, key))

    def forget(self, key: int) -> None:
        """The 4-tuple is used anew."""
        del self._records[key]

    @property
    def deadline(self) -> int:
        """When `expire` has something to do."""
        return self._order[0][0] if self._order else NEVER

    def expire(self, now: int) -> None:
        """Forget what is over."""
        order = self._order
        while order and order[0][0] <= now:
            _, key = order.popleft()
            record = self._records.get(key)
            if record is not None and record.expiry > now:
                order.append((record.expiry, key))  # a FIN came again and began a new wait: the longest of all
            elif record is not None:
                del self._records[key]

    # --- between hosts ------------------------------------------------------------------------------------------

    def take(self, wanted: Callable[[int], bool]) -> list[tuple[int, TimeWait]]:
        """Return the records whose key is wanted; they are the caller's now."""
        taken = [(key, record) for key, record in self._records.items() if wanted(key)]
        for key, _ in taken:
            del self._records[key]
        if taken:
            self._order = deque([entry for entry in self._order if not wanted(entry[1])])
        return taken

    def put(self, records: list[tuple[int, TimeWait]]) -> None:
        """Take in what another host gave away; its records are of any age."""
        for key, record in records:
            self.add(key, record)
        self._order = deque(sorted(self._order))
