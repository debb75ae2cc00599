from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dlibos_orchestrator.bench import programs
from dlibos_orchestrator.errors import MachineError


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all of the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "SYSTEM_PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_what_is_missing_is_one_line_with_the_command(bare: Path) -> None:
    for name in ("ip", "unshare", "setpriv", "nsenter"):
        install(bare, name)
    with pytest.raises(MachineError) as error:
        programs.require_all()
    assert str(error.value) == "bench needs wrk, nginx, not found here; run `apt-get install wrk nginx-light`"
    assert error.value.exit_code == 1
    with pytest.raises(MachineError, match="nginx is not found; run `apt-get install nginx-light`"):
        programs.path_of("nginx")


def test_nothing_is_missing(bare: Path) -> None:
    for name in programs.PACKAGES:
        install(bare, name)
    programs.require_all()
    assert programs.path_of("wrk") == str(bare / "wrk")


def test_no_words_are_needed_to_be_where_one_is() -> None:
    assert programs.inside(os.getpid()) == []
    assert programs.inside(os.getpid(), kinds=()) == []


def test_the_first_line_on_either_output() -> None:
    script = "import sys; print('tool 1.2', file=sys.stderr); sys.exit(1)"
    assert programs.first_line([sys.executable, "-c", script]) == "tool 1.2"
    assert not programs.first_line([sys.executable, "-c", ""])
