"""Counters of drops by reason."""

from __future__ import annotations

from dlibos_node.tcp.statistics import Drop, Statistics


def test_every_reason_has_a_counter() -> None:
    statistics = Statistics()
    assert len(statistics.drops) == len(Drop)
    assert statistics.dropped() == {}
    for reason in Drop:
        statistics.drops[reason] += reason + 1
    assert statistics.dropped() == {reason.name.lower(): reason + 1 for reason in Drop}
