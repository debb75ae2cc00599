from __future__ import annotations

import json

import pytest

from dlibos_orchestrator.bench.contrast import Objective
from dlibos_orchestrator.bench.protection_report import as_json, print_report
from tests.orchestrator.bench.contests import result


@pytest.fixture
def tables(capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_report(result(errors=1, objectives=(Objective("overhead", 0.02), Objective("fused", 0.9))))
    return capsys.readouterr().out.strip().split("\n\n")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_heading_says_what_the_figures_hold_for(tables: list[str]) -> None:
    assert "10 of 2 s for each server" in tables[0]
    assert "seed 7" in tables[0]
    assert "core: compiled" in tables[0]


def test_every_server_has_its_figures(tables: list[str]) -> None:
    rows = [cells(line) for line in tables[1].splitlines()[1:]]
    assert [row[1] for row in rows] == ["protected", "unprotected", "fused", "nginx"]
    assert rows[0][5:] == ["51.0", "driver 17.0, stack 17.0, app 17.0", "10"]


def test_costs_are_never_called_by_another_s_name(tables: list[str]) -> None:
    protection, distribution, kernel = tables[2:5]
    assert protection.startswith("cost of PROTECTION, protected against unprotected")
    assert distribution.startswith("cost of DISTRIBUTION, unprotected against fused")
    assert "fused" not in protection
    assert kernel.startswith("fused against nginx")
    assert cells(protection.splitlines()[2])[:3] == ["64", "throughput", "+1.0%"]
    assert cells(distribution.splitlines()[2])[:3] == ["64", "throughput", "+50.0%"]
    assert cells(kernel.splitlines()[2])[:3] == ["64", "throughput", "0.800"]


def test_every_answer_says_how_wide_its_interval_is(tables: list[str]) -> None:
    header, line = tables[2].splitlines()[1:3]
    assert cells(header)[-1] == "HALF WIDTH"
    assert cells(line)[3:] == ["+0.6% to +1.4%", "+0.7% to +1.3%", "0.4%"]


def test_the_parts_stand_beside_the_whole(tables: list[str]) -> None:
    lines = tables[5].splitlines()
    rows = {cells(line)[0]: cells(line)[1:] for line in lines[2:-2]}
    assert rows["checks"][0] == "0.50"
    assert rows["sum of the parts"][0] == "0.70"
    assert rows["sum of the parts"][2] == "1.37%"  # of 51 us
    assert rows["whole, measured apart"][0] == "0.70"
    assert "the sum adds up to the whole" in tables[5]
    assert "0.15 us for a readv and a writev" in tables[5]
    assert "make 0.30 ms a partition (0.10 unprotected)" in tables[5]


def test_objectives_say_whether_the_interval_agrees(tables: list[str]) -> None:
    rows = [cells(line) for line in tables[6].splitlines()[1:]]
    assert [row[-2] for row in rows] == ["met", "missed"]
    assert [row[-1] for row in rows] == ["yes", "yes"]


def test_json_has_the_answers_and_the_raw_rounds() -> None:
    data = json.loads(json.dumps(as_json(result(errors=1, objectives=(Objective("overhead", 0.02),)))))
    assert data["benchmark"] == "protection"
    assert data["errors"] == 40
    assert data["plan"]["seed"] == 7
    throughput = next(one for one in data["protection"]["answers"] if one["measure"] == "throughput")
    assert throughput["cost"]["mean"] == pytest.approx(0.01, abs=1e-4)
    assert throughput["ratio"]["pairs"] == 10
    assert (data["distribution"]["ours"], data["distribution"]["theirs"]) == ("unprotected", "fused")
    assert data["parts"]["adds_up"] is True
    assert data["parts"]["sum"]["mean"] == pytest.approx(0.7)
    assert data["objectives"][0]["objective"] == "overhead"
    assert len(data["legs"]) == 40
    assert len(data["parts"]["raw"]["us_per_request"]) == 5
