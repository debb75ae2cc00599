from __future__ import annotations

import json

import pytest

from dlibos_orchestrator.bench import web
from dlibos_orchestrator.bench.summary import Objective
from dlibos_orchestrator.cli import main
from tests.orchestrator.bench.legs import web_result


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[web.WebPlan]:
    """What the benchmark, which is not run, was asked for. Its answer holds three rounds with a median ratio of 0.2."""
    plans: list[web.WebPlan] = []

    def stand_in(plan: web.WebPlan, notice: web.Notice) -> web.WebResult:
        del notice
        plans.append(plan)
        return web_result(objectives=plan.objectives, errors=2 if plan.stack == 2 else 0)

    monkeypatch.setattr(web, "run", stand_in)
    return plans


def test_the_defaults_and_the_connection_that_is_always_measured(asked: list[web.WebPlan]) -> None:
    assert main.run(["bench", "web"]) == 0
    assert asked == [web.WebPlan((6, 6), 1, 1, 1, (1, 64, 256), rounds=5, seconds=3)]


def test_flags(asked: list[web.WebPlan]) -> None:
    tiles = ["--mesh", "4x2", "--driver", "2", "--stack", "3", "--app", "1"]
    flags = [*tiles, "--connections", "512,16", "--rounds", "7", "--duration", "1m"]
    assert main.run(["bench", "web", *flags]) == 0
    assert asked == [web.WebPlan((4, 2), 2, 3, 1, (1, 16, 512), rounds=7, seconds=60)]


def test_quick_is_short_where_nothing_else_is_said(asked: list[web.WebPlan]) -> None:
    main.run(["bench", "web", "--quick"])
    main.run(["bench", "web", "--quick", "--rounds", "3"])
    assert [(plan.rounds, plan.seconds) for plan in asked] == [(2, 1), (3, 1)]


def test_a_missed_objective_is_exit_code_3(asked: list[web.WebPlan], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", "web", "--objective", "64=0.20"]) == 0
    assert main.run(["bench", "web", "--objective", "64=0.35"]) == 3
    assert capsys.readouterr().err == "dlibos: objective missed: ratio 0.35 at 64 connections, was ratio 0.20\n"
    assert asked[1].objectives == (Objective(64, 0.35),)


def test_a_latency_may_be_the_objective(asked: list[web.WebPlan], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", "web", "--objective", "64=0.20,64:p50=32ms"]) == 0
    assert main.run(["bench", "web", "--objective", "64:p50=31ms,64:p99=1s"]) == 3
    assert capsys.readouterr().err == "dlibos: objective missed: p50 31.00 ms at 64 connections, was p50 32.00 ms\n"
    assert asked[0].objectives == (Objective(64, 0.20), Objective(64, 0.032, "p50"))


def test_wrong_answers_are_exit_code_1_even_then(asked: list[web.WebPlan], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", "web", "--stack", "2", "--objective", "64=0.35"]) == 1
    assert "2 requests failed" in capsys.readouterr().err
    assert len(asked) == 1


def test_json_is_all_of_standard_output(asked: list[web.WebPlan], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", "web", "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["legs"]) == 6
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--connections", "0"], "'0' is not a count of connections from 1 to 10000"),
        (["--connections", "64,x"], "'x' is not a count of connections from 1 to 10000"),
        (["--duration", "1500ms"], "'1500ms': wrk takes whole seconds, such as 3s"),
        (["--duration", "0s"], "'0s': wrk takes whole seconds, such as 3s"),
        (["--rounds", "0"], "'0' rounds; expected 1 to 1000"),
        (["--objective", "64"], "'64' is not CONNECTIONS=RATIO, such as 64=0.20, or such as 1:p50=1ms"),
        (["--objective", "64=nan"], "'64=nan' is not CONNECTIONS=RATIO, such as 64=0.20, or such as 1:p50=1ms"),
        (["--objective", "1:p5=1ms"], "'1:p5=1ms': unknown figure 'p5'; did you mean 'p50'?"),
        (["--objective", "1:p50=1"], "'1' is not a duration; expected one such as 500ms, 2s or 1m"),
        (["--objective", "0:p50=1ms"], "'0' is not a count of connections from 1 to 10000"),
    ],
)
def test_a_bad_value_is_one_line_and_exit_code_2(
    flags: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main.run(["bench", "web", *flags])
    assert leaving.value.code == 2
    assert capsys.readouterr().err == f"dlibos bench web: argument {flags[0]}: {line}; see `dlibos bench web --help`\n"


def test_an_objective_that_is_not_measured(asked: list[web.WebPlan], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", "web", "--objective", "100=0.2"]) == 2
    words = "--objective: 100 connections are not measured; use --connections 64,100,256"
    assert capsys.readouterr().err == f"dlibos: {words}\n"
    assert asked == []


def test_the_help_says_what_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["bench", "web", "--help"])
    text = capsys.readouterr().out
    assert all(
        word in text for word in ("nginx, with one worker", "128 bytes", "veth", "apt-get install wrk nginx-light")
    )
