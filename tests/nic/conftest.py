"""A TAP device in a network namespace of its own, with a kernel behind it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlibos_node.nic.queue import fetch_queue
from dlibos_node.nic.tap import Tap


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "keeper.sock")
    program = Path(__file__).with_name("tap_namespace.py")
    with subprocess.Popen(
        [sys.executable, str(program), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            line = process.stdout.readline().strip()
            if line != "ready":
                pytest.skip(line)
            yield path
        finally:
            process.stdin.close()


@pytest.fixture
def tap(keeper: str) -> Iterator[Tap]:
    descriptor, info = fetch_queue(keeper, 0)
    device = Tap(descriptor, info.mtu)
    yield device
    device.close()
