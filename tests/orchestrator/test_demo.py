"""The demonstration over stub tiles, which answer nothing: it must say so, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlibos_orchestrator.cli import main
from dlibos_orchestrator.demo import steps
from dlibos_orchestrator.demo.steps import Place, StepFailedError
from dlibos_orchestrator.runtime import processes


@pytest.mark.usefixtures("stub_tiles")
def test_a_mesh_that_does_not_answer_fails_every_step(
    runtime_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["demo", "--nic", "user"]) == 1
    lines = capsys.readouterr().out.splitlines()
    words = [line.split()[0] for line in lines if line.startswith(("ok", "failed"))]
    assert words == ["ok", "failed", "failed", "failed", "ok"]
    assert lines[-1] == "at least one step failed"
    assert list(runtime_directory.iterdir()) == []
    assert not [process for process in processes.scan() if process.directory.startswith(str(runtime_directory))]


def test_a_file_that_differs_fails_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "www"
    root.mkdir()
    (root / steps.FILE_NAME).write_bytes(b"as it should be")
    place = Place("demo", False, "127.0.0.1:1", 1, root)

    def fetch(url: str, target: Path) -> str:
        target.write_bytes(b"as it should bE" if "1/" in url else b"")
        return "nothing"

    monkeypatch.setattr(steps, "_fetch", fetch)
    with pytest.raises(StepFailedError, match="SHA-256 differs"):
        steps.download(place)
