"""A mesh that is scaled, or loses tiles, under load: what its clients notice."""

from __future__ import annotations

import json
import shutil

import pytest

from dlibos_orchestrator.runtime import namespace
from tests.support.commandline import dlibos

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not namespace.can_have_tap(), reason="needs a kernel TAP device"),
    pytest.mark.skipif(shutil.which("wrk") is None, reason="needs the program wrk"),
]


def test_nobody_loses_a_request_while_every_role_is_scaled_up_and_down() -> None:
    done = dlibos("bench", "scale", "--rounds", "1", "--connections", "50", "-o", "json", timeout=280)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["failures"], result["resets"], result["load"]["errors"]) == (0, 0, 0)
    assert [step["role"] for step in result["steps"]] == ["stack", "stack", "app", "app", "driver", "driver"]
    assert all(step["account"]["requests"] for step in result["steps"])


def test_a_tile_that_is_killed_or_hangs_costs_its_own_connections_at_most() -> None:
    done = dlibos("bench", "heal", "--rounds", "1", "--connections", "20", "--hang", "-o", "json", timeout=280)
    # 1: more was lost than the tile had when it was counted (newcomers come in between), 3: slower than it should be.
    assert done.returncode in {0, 1, 3}, done.stderr
    deaths = json.loads(done.stdout)["deaths"]
    assert [(death["role"], death["signal"]) for death in deaths] == [
        *((role, how) for role in ("driver", "stack", "app") for how in ("SIGKILL", "SIGSTOP")),
        ("orchestrator", "SIGKILL"),
    ]
    assert all(death["account"]["back"] is not None for death in deaths)
    assert all(death["lost"] == 0 for death in deaths if death["role"] in {"driver", "orchestrator"})
    assert all(death["account"]["wrong"] == 0 for death in deaths)
