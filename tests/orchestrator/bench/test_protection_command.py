from __future__ import annotations

import json

import pytest

from dlibos_orchestrator.bench import protection, web
from dlibos_orchestrator.bench.contrast import Objective
from dlibos_orchestrator.cli import main
from tests.orchestrator.bench.contests import result


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[protection.ProtectionPlan]:
    """What the benchmark, which is not run, was asked for."""
    plans: list[protection.ProtectionPlan] = []

    def stand_in(plan: protection.ProtectionPlan, notice: web.Notice) -> protection.ProtectionResult:
        del notice
        plans.append(plan)
        return result(objectives=plan.objectives, errors=2 if plan.stack == 2 else 0)

    monkeypatch.setattr(protection, "run", stand_in)
    return plans


def test_the_defaults(asked: list[protection.ProtectionPlan]) -> None:
    assert main.run(["bench", "protection"]) == 0
    assert asked[0]._replace(seed=1) == protection.ProtectionPlan(1, 1, 1, (64, 256), rounds=10, seconds=2, seed=1)


def test_flags(asked: list[protection.ProtectionPlan]) -> None:
    tiles = ["--driver", "2", "--stack", "3", "--app", "4"]
    flags = [*tiles, "--connections", "512,16", "--rounds", "12", "--duration", "3s", "--seed", "5"]
    assert main.run(["bench", "protection", *flags]) == 0
    assert asked == [protection.ProtectionPlan(2, 3, 4, (16, 512), rounds=12, seconds=3, seed=5)]


def test_a_missed_objective_is_exit_code_3(
    asked: list[protection.ProtectionPlan], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["bench", "protection", "--objective", "overhead=0.02,fused=0.7"]) == 0
    assert main.run(["bench", "protection", "--objective", "overhead=0.002"]) == 3
    assert capsys.readouterr().err == "dlibos: objective missed: overhead=0.002 at 64 connections\n"
    assert asked[0].objectives == (Objective("overhead", 0.02), Objective("fused", 0.7))


def test_wrong_answers_are_exit_code_1_even_then(
    asked: list[protection.ProtectionPlan], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["bench", "protection", "--stack", "2", "--objective", "fused=0.9"]) == 1
    assert "80 requests failed" in capsys.readouterr().err
    assert len(asked) == 1


def test_json_is_all_of_standard_output(
    asked: list[protection.ProtectionPlan], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["bench", "protection", "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["legs"]) == 40
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--objective", "speed=2"], "'speed=2' is not NAME=NUMBER with a name of overhead, fused"),
        (["--objective", "fused=nan"], "'fused=nan' is not NAME=NUMBER with a name of overhead, fused"),
        (["--seed", "x"], "'x' is not a whole number below 10^9"),
        (["--connections", "0"], "'0' is not a count of connections from 1 to 10000"),
    ],
)
def test_a_bad_value_is_one_line_and_exit_code_2(
    flags: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main.run(["bench", "protection", *flags])
    assert leaving.value.code == 2
    hint = "see `dlibos bench protection --help`"
    assert capsys.readouterr().err == f"dlibos bench protection: argument {flags[0]}: {line}; {hint}\n"


def test_a_benchmark_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main.run(["bench"])
    assert leaving.value.code == 2
    assert "BENCHMARK" in capsys.readouterr().err


def test_completion_knows_the_flags_of_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["completion", "bash"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("bench)")]
    assert "--objective" in line
    assert "--seed" in line
    assert "--quick" in line
