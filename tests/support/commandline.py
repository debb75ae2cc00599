"""The command line, as a user has it, for tests with a real mesh."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.request

DLIBOS = [sys.executable, "-P", "-m", "dlibos_orchestrator"]
LIMIT = 50.0  # seconds, below the time limit of a test


def dlibos(*arguments: str, timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DLIBOS, *arguments], capture_output=True, text=True, check=False, timeout=timeout)


def up(*arguments: str) -> None:
    done = dlibos("up", "--wait", *arguments)
    assert done.returncode == 0, done.stderr


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT) as answer:
        body: bytes = answer.read()
        return body


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tiles() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(dlibos("ps", "-o", "json").stdout)
    return found
