"""A runtime directory, a network interface and a web root for tests with a real mesh."""

from __future__ import annotations

import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlibos_orchestrator.runtime import namespace
from tests.support.commandline import dlibos


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of the test's own, where nothing may be left in the end."""
    directory = Path(tempfile.mkdtemp(prefix="dl-"))
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", str(directory))
    yield directory
    dlibos("down")
    left = list(directory.iterdir())
    shutil.rmtree(directory)
    assert left == []


@pytest.fixture(params=["tap", "user"])
def nic(request: pytest.FixtureRequest) -> str:
    """Both network interfaces, where this machine can have them."""
    choice = str(request.param)
    if choice == "tap" and not (found := namespace.can_have_tap()):
        pytest.skip(f"no TAP device: {found.reason}")
    return choice


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to serve, with a file of random bytes."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "random.bin").write_bytes(secrets.token_bytes(3_000_000))
    return folder


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
