from __future__ import annotations

from pathlib import Path

import pytest

from dlibos_orchestrator.bench import load, programs
from dlibos_orchestrator.errors import MeshStateError

OUTPUT = """\
Running 2s test @ http://10.77.0.2/
  Latency Distribution
     50%    1.75ms
     99%  980.00us
  {requests} requests in 2.00s, 40.00MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
Requests/sec:  88271.50
"""


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for wrk, which prints this file and keeps its arguments beside it."""
    stand_in = tmp_path / "wrk"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat {tmp_path}/output\nexit 1\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(programs, "path_of", lambda program: str(tmp_path / program))
    return tmp_path / "output"


def test_one_thread_loads_the_address(says: Path) -> None:
    says.write_text(OUTPUT.format(requests=176543))
    result, cpu = load.Client(["env"]).load("mesh", "10.77.0.2", 64, 2)
    assert (result.requests, result.per_second, result.errors) == (176543, 88271.5, 4)
    assert (result.p50, result.p99) == pytest.approx((1.75e-3, 980e-6))
    assert 0 <= cpu < 10
    assert (says.parent / "arguments").read_text() == "-t1 --latency -c64 -d2s http://10.77.0.2/\n"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (OUTPUT.format(requests=0), "mesh, 64 connections: no request was answered: Socket errors: connect 0, read 3"),
        ("", "no request was answered: wrk said nothing"),
        (
            "unable to connect to 10.77.0.2:80 Connection refused\n",
            "no request was answered: unable to connect to .*refused",
        ),
    ],
)
def test_no_answer_is_an_error_that_names_the_server(says: Path, output: str, line: str) -> None:
    says.write_text(output)
    with pytest.raises(MeshStateError, match=line):
        load.Client([]).load("mesh", "10.77.0.2", 64, 2)


def test_the_version(says: Path) -> None:
    says.write_text("wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\nUsage: wrk <options> <url>\n")
    assert load.version() == "wrk debian/4.1.0-3+b2"
