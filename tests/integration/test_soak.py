"""Tiles that die and come back, under load: those who live on keep serving and have nothing more than before."""

from __future__ import annotations

import pytest

from dlibos_orchestrator.bench import soak
from dlibos_orchestrator.runtime import namespace

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.mark.usefixtures("base")
def test_deaths_of_every_role_leave_nothing_behind() -> None:
    if not (found := namespace.can_have_tap()):
        pytest.skip(f"no TAP device: {found.reason}")
    result = soak.run(soak.SoakPlan(requests=10_000, deaths=6, seed=4), lambda line: None)
    assert result.requests >= 10_000
    assert result.deaths == 6
    assert {one.role for one in result.after} == {"driver", "stack", "app"}
    assert result.leaks == []
