"""What tiles have refused and what buffers they hold, from their Prometheus metrics."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from dlibos_orchestrator.attack.verdict import Evidence

PATIENCE: Final = 5.0  # seconds
UNKNOWN: Final = -1
ROOMS: Final = ("handover", "dispatch")  # whose drops tell of attacks; others drop frames all day


FAULTS: Final = "dlibos_protection_faults_total"
LINKS: Final = "dlibos_noc_refused_total"
DROPS: Final = "dlibos_drops_total"
BUFFERS: Final = "dlibos_buffers_in_use"


class Refused(NamedTuple):
    """What was refused, and to which tile; -1 where that is not known."""

    evidence: Evidence
    source: int


class Counts(NamedTuple):
    """Refusals, and buffers in use by tile and pool; of one tile or of several."""

    refused: Counter[Refused]
    buffers: dict[tuple[int, str], int]

    def since(self, before: Counts, attacker: int) -> tuple[Evidence, ...]:
        """Return what has been refused since, to the attacker or to nobody who is known."""
        fresh = self.refused - before.refused
        return tuple(evidence for evidence, source in fresh if source in {attacker, UNKNOWN})


def read(tile: int, role: str, port: int) -> Counts:
    """Return the counts of a tile. OSError."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        return parse(answer.read().decode(), tile, role)


def together(several: Iterable[Counts]) -> Counts:
    """Return the counts of several tiles as one."""
    total = Counts(Counter(), {})
    for counts in several:
        total.refused.update(counts.refused)
        total.buffers.update(counts.buffers)
    return total


def parse(text: str, tile: int, role: str) -> Counts:
    """Return the counts in a tile's metrics in Prometheus text format."""
    counts = Counts(Counter(), {})
    for name, labels, value in _samples(text):
        if name == BUFFERS:
            counts.buffers[tile, labels["pool"]] = int(value)
        elif (where := _where(name, labels)) is not None:
            source = int(labels.get("source", UNKNOWN))
            counts.refused[Refused(Evidence(labels["reason"], f"{where} of {role} tile {tile}"), source)] += int(value)
    return counts


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    # A tile has hundreds of samples, and to read one costs as much as an attack.
    lines = [line for line in text.splitlines() if line.startswith((FAULTS, LINKS, DROPS, BUFFERS))]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _where(name: str, labels: dict[str, str]) -> str | None:
    if name == DROPS:
        return labels["room"] if labels["room"] in ROOMS else None
    return {FAULTS: "fault", LINKS: "link"}.get(name)
