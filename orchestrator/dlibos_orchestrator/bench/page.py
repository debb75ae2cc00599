"""The page both servers serve, and the check that both do, byte for byte.

`python -m dlibos_orchestrator.bench.page ADDRESS` writes the body that the server there answers with to stdout.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dlibos_orchestrator.errors import MeshStateError

PAGE_BYTES: Final = 128
PAGE: Final = b"<!doctype html><html lang=en><title>bench</title><p>".ljust(PAGE_BYTES - 1, b".") + b"\n"
PATIENCE: Final = 10.0  # seconds for one answer


def write(root: Path) -> None:
    """Make the directory to serve, with the page as its index."""
    root.mkdir()
    (root / "index.html").write_bytes(PAGE)


def check(prefix: Sequence[str], server: str, address: str) -> None:
    """Fetch the page by a client run behind `prefix`; MeshStateError unless it is the page."""
    command = [*prefix, sys.executable, "-P", "-m", __name__, address]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        words = (done.stderr.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
        raise MeshStateError(f"{server} at {address} does not serve the page: {words}")
    if done.stdout != PAGE:
        raise MeshStateError(f"{server} at {address} serves {len(done.stdout)} bytes that are not the page")


def fetch(address: str) -> bytes:
    """Return the body of / at `address`, "host" or "host:port". OSError; HTTPException; ValueError but for a 200."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"status {answer.status} {answer.reason}")
    return body


def main() -> int:
    """Write the body, or one line on why there is none."""
    try:
        sys.stdout.buffer.write(fetch(sys.argv[1]))
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
