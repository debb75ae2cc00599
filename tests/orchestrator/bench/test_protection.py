from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlibos_orchestrator.bench import programs, protection
from dlibos_orchestrator.errors import MachineError
from dlibos_orchestrator.runtime import namespace, processes

BENCH = [sys.executable, "-P", "-m", "dlibos_orchestrator", "bench", "protection"]
LIMIT = 55.0  # seconds, below the time limit of a test


@pytest.fixture
def servers(tap: None) -> None:
    """Skip where a program is missing."""
    del tap
    search = f"{os.environ['PATH']}:/usr/sbin"
    if missing := [name for name in programs.PACKAGES if shutil.which(name, path=search) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture
def scratch(runtime_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where all files of a run go; in the end there must be none, and no process either."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.iterdir()) == []
    assert list(runtime_directory.iterdir()) == []
    assert [process for process in processes.scan() if process.directory.startswith(str(runtime_directory))] == []


def test_each_mode_gets_a_mesh_of_its_own() -> None:
    plan = protection.ProtectionPlan(driver=2, app=3)
    meshes = [protection.mesh_options(plan, Path("/srv"), mode) for mode in ("protected", "fused")]
    assert [(mesh.protection, mesh.driver, mesh.app) for mesh in meshes] == [("protected", 2, 3), ("fused", 2, 3)]
    assert len({mesh.name for mesh in meshes}) == 2


def test_no_tap_device_is_one_line(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    monkeypatch.setattr(programs, "require_all", lambda: None)
    monkeypatch.setattr(namespace, "can_have_tap", lambda: namespace.Availability(False, "no privilege", "run as root"))
    with pytest.raises(MachineError, match="bench protection needs a kernel TAP device: no privilege; run as root"):
        protection.run(protection.ProtectionPlan(), lambda line: None)
    assert scratch.is_dir()


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.usefixtures("servers", "scratch")
def test_a_short_run_answers_every_question() -> None:
    flags = ["--connections", "8", "--rounds", "2", "--duration", "1s", "--seed", "1", "-o", "json"]
    done = subprocess.run([*BENCH, *flags], capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert "seed 1" in done.stderr
    data = json.loads(done.stdout)
    assert data["errors"] == 0
    assert {leg["server"] for leg in data["legs"]} == {"protected", "unprotected", "fused", "nginx"}
    assert len(data["legs"]) == 8
    for question in ("protection", "distribution", "nginx"):
        assert {one["measure"] for one in data[question]["answers"]} == {"throughput", "p50", "p99", "CPU/request"}
    servers = {one["server"]: one for one in data["servers"]}
    assert set(servers["protected"]["roles"]) == {"driver", "stack", "app"}
    assert set(servers["fused"]["roles"]) == {"fused"}
    assert servers["nginx"]["cpu_us_per_request"] > 0
    assert data["parts"]["sum"]["mean"] == pytest.approx(
        sum(one["mean"] for one in data["parts"]["us_per_request"].values())
    )
