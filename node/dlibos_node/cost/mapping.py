"""What is paid once per tile, not per request: making a partition, and handing it to a reader who proves who it is.

Wall-clock milliseconds of the real thing, a unix socket and both ends' proofs included; the unprotected mode does the
same without seals and proofs.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Final

from dlibos_node.identity import KEY, Credentials
from dlibos_node.memory.descriptor import APP_INDEX, TX_INDEX, partition_number
from dlibos_node.memory.handover import Handover, fetch
from dlibos_node.memory.partition import Partition

TRIES: Final = 25
OWNER, READER = 1, 2
INDICES: Final = (1, TX_INDEX, APP_INDEX)  # of an RX, a TX and an APP partition: the mean of the three is given
MODES: Final = {"protected": True, "unprotected": False}


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of "make" and "hand over" one partition, by mode. `folder`: for a socket."""
    return {
        "make": {mode: _make(protected) for mode, protected in MODES.items()},
        "hand over": {mode: asyncio.run(_hand_over(folder, protected)) for mode, protected in MODES.items()},
    }


def _make(protected: bool) -> float:
    return statistics.median(_timed_make(protected) for _ in range(TRIES)) / len(INDICES)


def _timed_make(protected: bool) -> float:
    before = time.perf_counter()
    made = [Partition.create(partition_number(OWNER, index), protected=protected) for index in INDICES]
    spent = time.perf_counter() - before
    for partition in made:
        partition.close()
    return spent * 1e3


async def _hand_over(folder: Path, protected: bool) -> float:
    own = [Partition.create(partition_number(OWNER, index), protected=protected) for index in INDICES]
    shared = bytes(KEY)
    keys = [Credentials(OWNER, {READER: shared}), Credentials(READER, {OWNER: shared})] if protected else [None, None]
    path = str(folder / "memory.sock")
    handover = Handover(path, lambda _tile: own, keys[0])
    handover.start()
    spent = []
    for _ in range(TRIES):
        before = time.perf_counter()
        connection, mapped = await fetch(path, OWNER, READER, keys[1])
        spent.append((time.perf_counter() - before) * 1e3)
        connection.close()
        for partition in mapped:
            partition.close()
    handover.close()
    for partition in own:
        partition.close()
    return statistics.median(spent) / len(INDICES)
