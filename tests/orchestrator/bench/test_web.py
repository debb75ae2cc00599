from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlibos_orchestrator.bench import programs, web
from dlibos_orchestrator.errors import MachineError, UsageError
from dlibos_orchestrator.runtime import namespace, processes

BENCH = [sys.executable, "-P", "-m", "dlibos_orchestrator", "bench", "web"]
LIMIT = 50.0  # seconds, below the time limit of a test


@pytest.fixture
def servers(tap: None) -> None:
    """Skip where a program is missing."""
    del tap
    if missing := [
        name for name in programs.PACKAGES if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None
    ]:
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
    assert [line for line in command_lines() if str(folder) in line] == []


def command_lines() -> list[str]:
    """Of the processes that run."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_bytes().decode(errors="replace"))
        except OSError:  # it ended meanwhile
            continue
    return lines


def test_who_is_loaded_first_alternates() -> None:
    assert [web.order(number)[0] for number in (1, 2, 3)] == ["mesh", "nginx", "mesh"]
    assert sorted(web.order(2)) == ["mesh", "nginx"]


def test_no_tap_device_is_one_line(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    monkeypatch.setattr(programs, "require_all", lambda: None)
    monkeypatch.setattr(namespace, "can_have_tap", lambda: namespace.Availability(False, "no privilege", "run as root"))
    with pytest.raises(MachineError, match="bench web needs a kernel TAP device: no privilege; run as root"):
        web.run(web.WebPlan(), lambda line: None)
    assert scratch.is_dir()


def test_a_mesh_that_cannot_be_leaves_nothing(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    monkeypatch.setattr(programs, "require_all", lambda: None)
    monkeypatch.setattr(namespace, "can_have_tap", lambda: namespace.Availability(True))
    with pytest.raises(UsageError, match="do not fit"):
        web.run(web.WebPlan(app=40), lambda line: None)
    assert scratch.is_dir()


@pytest.mark.integration
@pytest.mark.usefixtures("servers", "scratch")
def test_a_short_run_measures_everyone() -> None:
    flags = ["--connections", "8", "--rounds", "1", "--duration", "1s", "-o", "json"]
    done = subprocess.run([*BENCH, *flags], capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert "round 1/1, 8 connections: mesh " in done.stderr
    data = json.loads(done.stdout)
    assert [(leg["connections"], leg["server"]) for leg in data["legs"]] == [
        (1, "mesh"), (1, "nginx"), (8, "mesh"), (8, "nginx"),
    ]  # fmt: skip
    assert data["errors"] == 0
    for result in data["results"]:
        assert result["mesh"]["requests_per_second"]["median"] > 0
        assert 0 < result["mesh"]["p50"] <= result["mesh"]["p99"]
        assert [tile["role"] for tile in result["tiles"]] == ["driver", "stack", "app"]
        # At least a descriptor to the stack, an event to the app, a command back, and a gather list to the driver.
        assert result["all_tiles"]["messages_per_request"] > 2
        assert result["all_tiles"]["hops_per_request"] >= result["all_tiles"]["messages_per_request"] - 0.01
        assert result["nginx"]["client_cpu_us_per_request"] > 0


@pytest.mark.integration
@pytest.mark.usefixtures("servers", "scratch")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number: signal.Signals) -> None:
    with subprocess.Popen(BENCH, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert "5 rounds" in child.stderr.readline()  # both servers stand, and the load begins
        child.send_signal(number)
        output, errors = child.communicate(timeout=LIMIT)
    assert (child.returncode, output, errors) == (1, "", "dlibos: bench was interrupted\n")
