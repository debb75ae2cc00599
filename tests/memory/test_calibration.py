from __future__ import annotations

from dlibos_node.memory import calibration
from dlibos_node.memory.checked import Checked


def test_every_kind_of_check_has_a_cost() -> None:
    costs = calibration.costs()
    assert set(costs) == set(Checked().kinds())
    assert all(seconds >= 0.0 for seconds in costs.values())
    assert 0.0 < costs["descriptor"] < 1e-3
    assert costs["role"] == 0.0
