"""What tiles have refused and what buffers they hold, from their Prometheus metrics."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from dlibos_orchestrator.attack.verdict import Evidence

PATIENCE: Final = 5.0  # seconds
ROOMS: Final = ("handover", "dispatch")  # whose drops tell of attacks; others drop frames all day


class Counts(NamedTuple):
    """Refusals by evidence, and buffers in use by pool, of one tile."""

    refused: Counter[Evidence]
    buffers: dict[str, int]


def read(tile: int, role: str, port: int, attacker: int) -> Counts:
    """Return the counts of a tile; of its protection faults those it lays to tile `attacker`. OSError."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        return parse(answer.read().decode(), f"{role} tile {tile}", attacker)


def parse(text: str, who: str, attacker: int) -> Counts:
    """Return the counts in metrics in Prometheus text format; `who` had them."""
    counts = Counts(Counter(), {})
    for name, labels, value in _samples(text):
        if name == "dlibos_buffers_in_use":
            counts.buffers[labels["pool"]] = int(value)
        elif (where := _where(name, labels, attacker)) is not None:
            counts.refused[Evidence(labels["reason"], f"{where} of {who}")] += int(value)
    return counts


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _where(name: str, labels: dict[str, str], attacker: int) -> str | None:
    if name == "dlibos_protection_faults_total":
        return "fault" if labels["source"] == str(attacker) else None
    if name == "dlibos_noc_refused_total":
        return "link"
    return labels["room"] if name == "dlibos_drops_total" and labels["room"] in ROOMS else None
