"""`dlibos` as a user calls it, and what a user gets from the mesh by the published port."""

from __future__ import annotations

import subprocess
import sys
import urllib.request

DLIBOS = [sys.executable, "-P", "-m", "dlibos_orchestrator"]
LIMIT = 50.0  # seconds, below the time limit of a test


def dlibos(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DLIBOS, *arguments], capture_output=True, text=True, check=False, timeout=LIMIT)


def up(*arguments: str) -> None:
    done = dlibos("up", "--wait", *arguments)
    assert done.returncode == 0, done.stderr


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT) as answer:
        body: bytes = answer.read()
        return body
