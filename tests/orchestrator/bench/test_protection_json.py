from __future__ import annotations

import json

import pytest

from dlibos_orchestrator.bench.contrast import Objective
from dlibos_orchestrator.bench.protection_json import as_json
from tests.orchestrator.bench.contests import result


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
