"""Commands that change a running mesh: what they make of their arguments."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest
from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.cli import assign, changing, events, main, scale


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stack=4", ("stack", "", 4)),
        ("app=0", ("app", "", 0)),
        ("app.shop=2", ("app", "shop", 2)),
        ("idle=3", ("idle", "", 3)),
    ],
)
def test_counts(text: str, expected: tuple[str, str, int]) -> None:
    assert scale.count(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stack", "not ROLE=N"),
        ("stak=4", "did you mean 'stack'"),
        ("stack.a=1", "only app tiles belong to a domain"),
        ("stack=many", "expected a number"),
        ("stack=-1", "expected a number"),
    ],
)
def test_counts_that_make_no_sense(text: str, words: str) -> None:
    with pytest.raises(ArgumentTypeError, match=words):
        scale.count(text)


def test_a_role_may_name_its_domain() -> None:
    assert assign.role("app.shop") == ("app", "shop")
    assert assign.ROLES[assign.role("stack")[0]] == mesh_pb2.ROLE_STACK
    with pytest.raises(ArgumentTypeError, match="did you mean 'driver'"):
        assign.role("drivr")
    with pytest.raises(ArgumentTypeError, match="only app tiles"):
        assign.role("stack.shop")


def test_a_policy_that_would_oscillate_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["autoscale", "on", "high=0.7,low=0.8"]) == 2
    assert "use 0 < low < high <= 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["scale", "stack=2"], ["assign", "1", "stack"], ["drain", "1"], ["restart", "1"], ["events"], ["top"]]
)
def test_without_a_mesh_the_next_step_is_named(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", str(tmp_path))
    assert main.run(command) == 1
    assert "start one with `dlibos up`" in capsys.readouterr().err


def test_events_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    event = orchestrator_pb2.Event(time=1.25, kind="started", tile=3, text="as stack")
    events.show(event, "table")
    events.show(event, "json")
    table, line = capsys.readouterr().out.splitlines()
    assert table.split()[1:] == ["3", "started", "as", "stack"]
    assert line == '{"time": 1.25, "kind": "started", "tile": 3, "text": "as stack"}'


def test_steps_of_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    changing._print_steps(["drain tile 3"], "table")
    changing._print_steps([], "json")
    assert capsys.readouterr().out == "drain tile 3\n[]\n"
