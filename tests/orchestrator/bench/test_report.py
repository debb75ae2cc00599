from __future__ import annotations

import json
import re

import pytest

from dlibos_orchestrator.bench.report import as_json, latency, print_report
from dlibos_orchestrator.bench.summary import Objective
from tests.orchestrator.bench.legs import web_result


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(31e-6, "31 us"), (999e-6, "999 us"), (1.75e-3, "1.75 ms"), (0.98, "980.00 ms"), (2.1, "2.10 s")],
)
def test_a_latency_has_a_readable_unit(seconds: float, text: str) -> None:
    assert latency(seconds) == text


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = (Objective(64, 0.15), Objective(64, 0.35), Objective(64, 0.0315, "p50"))
    print_report(web_result(errors=2, objectives=wanted))
    heading, speed, cost, objectives = capsys.readouterr().out.strip().split("\n\n")
    assert "6x6: 1 driver, 1 stack, 1 app; core: compiled" in heading
    assert "2 CPUs" in heading
    assert "3 of 2 s" in heading
    line = speed.splitlines()[1].split("  ")
    assert [cell.strip() for cell in line if cell.strip()] == [
        "64", "2,000 (1,000-3,000)", "10,000 (5,000-15,000)", "0.20 (0.10-0.40)",
        "32.00 ms", "64.00 ms", "6.40 ms", "12.80 ms", "2",
    ]  # fmt: skip
    rows = [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in cost.splitlines()[1:]]
    assert rows[0] == ["64", "tile 0, driver", "10.0", "1.00", "4.0", "2.00"]
    assert rows[3] == ["64", "all tiles", "60.0", "6.00", "4.0", "12.00"]
    assert [row[1] for row in rows[4:]] == ["nginx", "wrk, on the mesh", "wrk, on nginx"]
    assert [re.split(" {2,}", row) for row in objectives.splitlines()[1:]] == [
        ["64", "ratio 0.15", "ratio 0.20", "met"],
        ["64", "ratio 0.35", "ratio 0.20", "missed"],
        ["64", "p50 31.50 ms", "p50 32.00 ms", "missed"],
    ]


def test_no_objective_no_table_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(web_result())
    assert "OBJECTIVE" not in capsys.readouterr().out


def test_json_has_the_summary_and_the_raw_rounds() -> None:
    data = json.loads(json.dumps(as_json(web_result(errors=2, objectives=(Objective(64, 0.35),)))))
    assert data["benchmark"] == "web"
    assert data["page_bytes"] == 128
    assert data["machine"]["cpus"] == 2
    assert data["mesh"]["core"] == "compiled"
    assert [tile["role"] for tile in data["mesh"]["tiles"]] == ["driver", "stack", "app"]
    assert data["errors"] == 2
    [one] = data["results"]
    assert one["connections"] == 64
    assert one["ratio"] == pytest.approx({"median": 0.2, "low": 0.1, "high": 0.4})
    assert one["mesh"]["requests_per_second"] == {"median": 2000, "low": 1000, "high": 3000}
    assert [tile["tile"] for tile in one["tiles"]] == [0, 1, 2]
    assert one["all_tiles"]["messages_per_request"] == pytest.approx(6)
    wanted = {"connections": 64, "figure": "ratio", "bar": 0.35, "reached": pytest.approx(0.2), "met": False}
    assert data["objectives"] == [wanted]
    assert [(leg["round"], leg["server"]) for leg in data["legs"]] == [
        (1, "mesh"), (1, "nginx"), (2, "nginx"), (2, "mesh"), (3, "mesh"), (3, "nginx"),
    ]  # fmt: skip
    assert data["legs"][0]["load"]["per_second"] == 1000
    assert data["legs"][0]["tiles"][2]["role"] == "app"
    assert data["legs"][1]["tiles"] == []
