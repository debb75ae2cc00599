"""The journal of faults: one line an event, bounded, and the first of a kind in the log."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from dlibos_node import journal
from dlibos_node.journal import Journal
from dlibos_node.memory.fault import Fault
from dlibos_node.noc import tags
from dlibos_node.noc.faults import Faults


@pytest.fixture
def faults() -> Faults:
    return Faults({})


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_says_who_was_refused_what_and_why(tmp_path: Path, faults: Faults) -> None:
    changes: list[list[str]] = []
    written = Journal(tmp_path / "faults.jsonl", 3, faults, changes.append)
    faults.report(7, Fault.PORT, tags.LISTEN)
    faults.report(7, Fault.GENERATION, tags.SEND)
    written.write()
    found = lines(tmp_path / "faults.jsonl")
    assert [(line["tile"], line["source"], line["reason"], line["tag"]) for line in found] == [
        (3, 7, "port_of_another_domain", tags.LISTEN),
        (3, 7, "stale_generation", tags.SEND),
    ]
    assert changes == [(tmp_path / "faults.jsonl").read_text().splitlines(keepends=True)]
    assert not faults.events


def test_a_flood_fills_no_disk(tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST", 5)
    written = Journal(tmp_path / "faults.jsonl", 3, faults, lambda _lines: None)
    for _ in range(4):
        for _ in range(3):
            faults.report(7, Fault.ROLE, tags.RX)
        written.write()
    assert len(lines(tmp_path / "faults.jsonl")) == 5
    assert faults.total == 12


def test_the_log_has_the_first_of_a_kind(tmp_path: Path, faults: Faults, caplog: pytest.LogCaptureFixture) -> None:
    written = Journal(tmp_path / "faults.jsonl", 3, faults, lambda _lines: None)
    for fault in (Fault.ROLE, Fault.ROLE, Fault.BOUNDS):
        faults.report(7, fault, tags.RX)
    with caplog.at_level(logging.WARNING):
        written.write()
    assert [record.getMessage() for record in caplog.records] == [
        "protection fault: tile 7: wrong_role (message 1)",
        "protection fault: tile 7: out_of_bounds (message 1)",
    ]


def test_the_memory_of_a_process_that_ended_is_no_fault(faults: Faults) -> None:
    faults.report(7, Fault.GONE, tags.TX)
    assert (faults.total, faults.gone, len(faults.events)) == (0, 1, 0)
