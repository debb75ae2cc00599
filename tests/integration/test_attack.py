"""`dlibos attack`, whole: every attack from really compromised tiles, protected and not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlibos_orchestrator.attack.catalogue import CATALOGUE
from dlibos_orchestrator.runtime import namespace, processes

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of the test's own, where nothing may be left in the end."""
    if not (found := namespace.can_have_tap()):
        pytest.skip(f"no TAP device: {found.reason}")
    directory = Path(tempfile.mkdtemp(prefix="dl-"))
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", str(directory))
    yield directory
    left = list(directory.iterdir())
    shutil.rmtree(directory)
    assert left == []


def test_all_is_blocked_protected_and_what_must_succeed_unprotected_does(base: Path) -> None:
    command = [sys.executable, "-P", "-m", "dlibos_orchestrator", "attack", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert [row["name"] for row in result["attacks"]] == [attack.name for attack in CATALOGUE]
    assert {row["name"]: row for row in result["attacks"] if not row["ok"]} == {}
    assert done.returncode == 0
    assert all(row["protected"]["clients"]["errors"] == 0 for row in result["attacks"])
    assert not [process for process in processes.scan() if process.directory.startswith(str(base))]
