"""What a check costs on this machine, in this build: timed at a tile's start on memory of its own, for the metrics.

Each figure is the least of several runs of a loop, less the same loop without the check. It is the cost of a check in a
warm cache and with nothing wrong: on the path of a request it costs more (`dlibos bench protection` measures that).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from dlibos_node.memory.buffers import Buffers
from dlibos_node.memory.descriptor import APP_INDEX, partition_number
from dlibos_node.memory.partition import Partition

LOOPS: Final = 500
RUNS: Final = 5
TILE: Final = 0


def costs() -> dict[str, float]:
    """Return the CPU seconds of one check by kind (checked.py)."""
    kept, loose = _partition(leases=True), _partition(leases=False)
    pool = Buffers(kept, kept.layout.pools[0])
    other = Buffers(loose, loose.layout.pools[0])
    idle = _least(lambda: _compare(0, LOOPS))
    found = {
        "descriptor": _least(lambda: _check(kept, pool.lease(0))) - idle,
        "lease": _least(lambda: _release(pool)) - _least(lambda: _release_unchecked(other)),
        "connection": idle,
        "count": idle,
        "role": 0.0,  # dispatch looks the sender's table up in every mode
    }
    kept.close()
    loose.close()
    return {kind: max(seconds, 0.0) for kind, seconds in found.items()}


def _partition(leases: bool) -> Partition:
    return Partition.create(partition_number(TILE, APP_INDEX), leases=leases)


def _least(loop: Callable[[], int]) -> float:
    """Return the seconds of one turn."""
    best = 1e9
    for _ in range(RUNS):
        before = time.thread_time()
        loop()
        best = min(best, time.thread_time() - before)
    return best / LOOPS


def _compare(first: int, turns: int) -> int:
    """A loop of comparisons, as of a count or of a connection's owner."""
    wrong = first
    for turn in range(turns):
        if turn > turns:
            wrong += 1
    return wrong


def _check(partition: Partition, lease: int) -> int:
    wrong = 0
    for _ in range(LOOPS):
        if partition.check(100, lease) is not None:
            wrong += 1
    return wrong


def _release(pool: Buffers) -> int:
    wrong = 0
    for _ in range(LOOPS):
        slot = pool.take()
        if pool.release(pool.lend(slot, TILE) | pool.offset(slot), TILE) is not None:
            wrong += 1
    return wrong


def _release_unchecked(pool: Buffers) -> int:
    for _ in range(LOOPS):
        slot = pool.take()
        pool.release_unchecked(pool.lend(slot, TILE) | pool.offset(slot))
    return 0
