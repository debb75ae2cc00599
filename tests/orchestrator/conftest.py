"""A runtime directory of the test's own, and stub tiles in place of real ones: the launcher's side alone is tested."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dlibos_node
from dlibos_orchestrator.runtime import namespace, processes

# Says it is ready, or what STUB_TILE tells it to, and waits for its end.
STUB_TILE = """\
import json, os, pathlib, signal, sys
def main(argv):
    directory = pathlib.Path(argv[argv.index("--dir") + 1])
    tile = int(argv[argv.index("--tile") + 1])
    mode = os.environ.get("STUB_TILE", "ready")
    status = {"tile": tile, "pid": os.getpid(), "ready": mode == "ready", "metricsPort": 9000 + tile}
    if mode == "problem":
        status["problem"] = "the disk is full; empty it"
    if mode == "die":
        sys.exit("Traceback: tile fell over")
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        status["ready"] = True
    place = directory / "status" / str(tile)
    place.mkdir(exist_ok=True)
    draft = place / "status.new"
    draft.write_text(json.dumps(status))
    draft.replace(place / "status.json")
    print("stub tile", tile, flush=True)
    signal.pause()
if __name__ == "__main__":
    main(sys.argv)
"""
NURSERY = Path(dlibos_node.__path__[0]) / "nursery.py"


@pytest.fixture
def runtime_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Short enough for unix sockets; whatever a failed test left running there is ended."""
    base = Path(tempfile.mkdtemp(prefix="dl-"))
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", str(base))
    yield base
    for process in processes.scan():
        if process.directory.startswith(str(base)):
            processes.stop_all(Path(process.directory))
    shutil.rmtree(base)


@pytest.fixture
def stub_tiles(runtime_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let `python -m dlibos_node` be a stub, which the real nursery forks; the answer sets what the next ones do."""
    del runtime_directory
    package = tmp_path / "stub" / "dlibos_node"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STUB_TILE)
    (package / "nursery.py").write_bytes(NURSERY.read_bytes())
    (package / "apps").mkdir()
    (package / "apps" / "registry.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), *filter(None, sys.path)]))

    def behave(mode: str) -> None:
        monkeypatch.setenv("STUB_TILE", mode)

    return behave


@pytest.fixture
def tap() -> None:
    """Skip, with the reason, where no TAP device can be had."""
    found = namespace.can_have_tap()
    if not found:
        pytest.skip(f"no TAP device: {found.reason}")
