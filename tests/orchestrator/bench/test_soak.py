"""The soak: what counts as a leak, and where the figures come from."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest

from dlibos_node.memory.descriptor import APP_INDEX, partition_number
from dlibos_node.memory.partition import Partition
from dlibos_orchestrator.bench import soak
from dlibos_orchestrator.bench.load import parse_requests
from dlibos_orchestrator.bench.soak import Holdings, SoakResult, grown, parse_held
from dlibos_orchestrator.cli import main

REST = Holdings(tile=2, role="stack", pid=77, buffers=0, connections=0, descriptors=37, mappings=5, rss_bytes=50 << 20)


def test_a_tile_at_rest_as_before_has_leaked_nothing() -> None:
    assert grown(REST, REST) == []
    assert grown(REST, REST._replace(descriptors=30, rss_bytes=60 << 20)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"buffers": 1}, "tile 2 (stack): buffers 0 -> 1"),
        ({"descriptors": 38}, "tile 2 (stack): descriptors 37 -> 38"),
        ({"mappings": 6}, "tile 2 (stack): mappings 5 -> 6"),
        ({"connections": 3}, "tile 2 (stack): connections 0 -> 3"),
        ({"rss_bytes": 100 << 20}, "tile 2 (stack): RSS 50 -> 100 MiB"),
        ({"pid": 78}, "tile 2 (stack) did not live through it"),
    ],
)
def test_what_has_grown_is_named(change: dict[str, Any], words: str) -> None:
    after = REST._replace(**change)
    assert grown(REST, after) == [words]
    assert SoakResult(1, 1, 1.0, [REST, REST], [REST, after]).leaks == [words]


def test_buffers_and_connections_are_read_from_the_metrics() -> None:
    text = """\
# TYPE dlibos_buffers_in_use gauge
dlibos_buffers_in_use{tile="0",role="driver",pool="rx_small_1"} 3.0
dlibos_buffers_in_use{tile="0",role="driver",pool="rx_large_1"} 1.0
# TYPE dlibos_connections gauge
dlibos_connections{tile="1",role="stack"} 7.0
"""
    assert parse_held(text) == (4, 7)


def test_the_requests_of_a_run_are_counted_even_where_wrk_saw_errors() -> None:
    assert parse_requests("  1234 requests in 2.00s, 1.00MB read\n  Socket errors: connect 0, read 3") == 1234
    assert parse_requests("unable to connect") == 0


def test_descriptors_and_mappings_are_those_of_the_process() -> None:
    before = soak.count_descriptors(os.getpid())
    with socket.socket():
        assert soak.count_descriptors(os.getpid()) == before + 1
    mapped = soak.count_mappings(os.getpid())  # other tests of this process may have left some
    partition = Partition.create(partition_number(1, APP_INDEX))
    assert soak.count_mappings(os.getpid()) == mapped + 1
    partition.close()
    assert soak.count_mappings(os.getpid()) == mapped


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[soak.SoakPlan]:
    """What the soak, which is not run, was asked for; with seed 9 a stack tile has leaked a descriptor."""
    plans: list[soak.SoakPlan] = []

    def stand_in(plan: soak.SoakPlan, notice: soak.Notice) -> SoakResult:
        del notice
        plans.append(plan)
        after = REST._replace(descriptors=38) if plan.seed == 9 else REST
        return SoakResult(plan.requests, plan.deaths, 12.34, [REST], [after])

    monkeypatch.setattr(soak, "run", stand_in)
    return plans


def test_the_command_says_what_is_left(asked: list[soak.SoakPlan], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", "soak", "--requests", "10M", "--deaths", "1k"]) == 0
    assert asked == [soak.SoakPlan(10_000_000, 1000, 1)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "10,000,000 requests, 1,000 deaths, 12 s; before -> after, at rest"
    assert "37 -> 37" in lines[-1]


def test_a_leak_fails_the_command(asked: list[soak.SoakPlan], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", "soak", "--seed", "9", "-o", "json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["leaks"] == ["tile 2 (stack): descriptors 37 -> 38"]
    assert "leaked: tile 2 (stack): descriptors 37 -> 38" in said.err
    assert len(asked) == 1


@pytest.mark.parametrize("text", ["", "x", "1.5M", "-3", "10G", "1234567890"])
def test_a_count_that_is_none_is_named(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main.run(["bench", "soak", f"--requests={text}"])
    assert left.value.code == 2
    assert "is not a count, such as 1000, 50k or 10M" in capsys.readouterr().err
