"""What the tiles do during a load: CPU time from the process table, NoC counters from their Prometheus metrics."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from dlibos_orchestrator.bench.leg import TileUse
from dlibos_orchestrator.errors import MeshStateError
from dlibos_orchestrator.runtime import processes, words
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.observe import TileRow

T = TypeVar("T")
PATIENCE: Final = 10.0  # seconds for a busy tile to answer
MESSAGES: Final = "dlibos_noc_messages_received_total"
FRAMES: Final = "dlibos_noc_frames_received_total"
HOPS: Final = "dlibos_noc_hops_total"


class NocCounts(NamedTuple):
    """NoC counters of one tile, summed over where the messages came from."""

    messages: float
    frames: float
    hops: float


def parse_noc(text: str) -> NocCounts:
    """Return the counters of a tile from its metrics in Prometheus text format. Absent ones are 0."""
    sums = dict.fromkeys((MESSAGES, FRAMES, HOPS), 0.0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in sums:
                sums[sample.name] += sample.value
    return NocCounts(sums[MESSAGES], sums[FRAMES], sums[HOPS])


def around(directory: MeshDirectory, rows: Sequence[TileRow], load: Callable[[], T]) -> tuple[T, tuple[TileUse, ...]]:
    """Run `load`; return its answer and what each tile did meanwhile. MeshStateError when a tile is gone."""
    # Reading the counters costs a tile CPU time, so the CPU time is read last before and first after.
    counts = [_counts(directory, row) for row in rows]
    cpu = [processes.cpu_seconds(row.pid) for row in rows]
    result = load()
    spent = [processes.cpu_seconds(row.pid) - start for row, start in zip(rows, cpu, strict=True)]
    uses = [_use(directory, row, seconds, before) for row, seconds, before in zip(rows, spent, counts, strict=True)]
    return result, tuple(uses)


def _use(directory: MeshDirectory, row: TileRow, seconds: float, before: NocCounts) -> TileUse:
    after = _counts(directory, row)
    differences = (late - early for early, late in zip(before, after, strict=True))
    return TileUse(row.tile, row.role, seconds, *differences)


def _counts(directory: MeshDirectory, row: TileRow) -> NocCounts:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{row.metrics_port}/metrics", timeout=PATIENCE) as answer:
            return parse_noc(answer.read().decode())
    except OSError as error:
        said = words.last_words(directory.log_file(f"tile-{row.tile}")) or "nothing"
        raise MeshStateError(
            f"tile {row.tile} ({row.role}) gives no metrics any more: {getattr(error, 'reason', error)}; "
            f"its log ended with: {said}; try the same mesh by `dlibos up` and see `dlibos logs`"
        ) from error
