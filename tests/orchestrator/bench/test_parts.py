from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from dlibos_orchestrator.bench import parts
from dlibos_orchestrator.errors import MeshStateError
from tests.orchestrator.bench.contests import raw_parts


def test_parts_are_the_differences_between_steps() -> None:
    found = parts.add_up(raw_parts())
    assert {name: one.mean for name, one in found.parts.items()} == pytest.approx(
        {"mapping": 0.0, "leases": 0.2, "checks": 0.5}
    )
    assert found.sum.mean == pytest.approx(0.7)
    assert found.whole.mean == pytest.approx(0.7)
    assert found.path["fused"] == 15.0
    assert found.syscalls == pytest.approx(0.15)
    assert found.once["make"]["protected"] == 0.3


def test_the_sum_agrees_with_the_whole_within_the_uncertainty() -> None:
    assert parts.add_up(raw_parts()).add_up
    missing = parts.add_up(raw_parts(whole=1.7))
    assert missing.unexplained.mean == pytest.approx(1.0)
    assert not missing.add_up


def test_a_measurement_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "first\ndlibos: no memory\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(MeshStateError, match=r"dlibos_node\.cost ended: dlibos: no memory"):
        parts.measure(1, 64, 1)


def test_what_the_process_prints_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess([], 0, json.dumps(raw_parts()), "")

    monkeypatch.setattr(subprocess, "run", answer)
    assert parts.measure(5, 64, 9).core == "compiled"
    assert asked[0][-6:] == ["--rounds", "5", "--connections", "64", "--seed", "9"]
