"""`dlibos attack`: what it prints and its exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from dlibos_orchestrator.attack import run as suite
from dlibos_orchestrator.attack.catalogue import CATALOGUE, Attack
from dlibos_orchestrator.attack.verdict import PROTECTED, UNPROTECTED, Clients, Result, Row
from dlibos_orchestrator.cli.main import run


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let the suite come to what the list holds, one for each attack and mode."""
    outcomes: list[bool] = []

    def fake(attacks: Sequence[Attack], modes: Sequence[str], notice: object) -> list[Row]:
        results = iter(outcomes or [True] * len(attacks) * len(modes))
        return [Row(a, {m: Result(next(results), f"{m} words", Clients(7)) for m in modes}) for a in attacks]

    monkeypatch.setattr(suite, "run", fake)
    return outcomes


def test_the_table_and_the_summary(outcome: list[bool], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attack", "--only", "app-join,app-rx-map"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = "ATTACK BY EXPECTED MECHANISM PROTECTED: BLOCKED BY UNPROTECTED: WHAT HAPPENED CLIENTS"
    assert lines[0].split() == header.split()
    assert lines[1].split()[:2] == ["app-join", "app"]
    assert "protected words" in lines[1]
    assert lines[1].endswith("7 ok")
    assert lines[-1].startswith("2 of 2 blocked, 14 requests served meanwhile, 0 errors; unprotected: 2 of 2")


@pytest.mark.parametrize("failed", [0, 1])
def test_one_cell_that_is_not_as_it_must_be_fails_the_run(
    outcome: list[bool], failed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome += [number != failed for number in range(2)]
    assert run(["attack", "--only", "app-join", "-o", "json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert not printed["ok"]
    assert [printed["attacks"][0][mode]["ok"] for mode in (PROTECTED, UNPROTECTED)] == outcome


def test_one_mode_alone(outcome: list[bool], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attack", "--only", "app-join", "--mode", "protected"]) == 0
    assert "unprotected words" not in capsys.readouterr().out


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attack", "--list", "-o", "json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == [attack.name for attack in CATALOGUE]
    assert run(["attack", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(CATALOGUE) + 1


def test_an_unknown_attack_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attack", "--only", "app-jion"]) == 2
    assert "did you mean app-join" in capsys.readouterr().err
