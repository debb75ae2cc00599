"""More parallel downloads than the application's partition has room for: all come through, byte-exact."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from pathlib import Path

import pytest

from dlibos_node.apps.web.limits import WINDOW
from dlibos_node.sockets.buffers import LONG, SHORT
from tests.support.commandline import LIMIT, up

pytestmark = pytest.mark.integration
CLIENTS = 300
BYTES = 2_000_000


async def download(port: int) -> str:
    """Return the digest of what came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /random.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    received = hashlib.sha256()
    while data := await reader.read(1 << 16):
        received.update(data)
    writer.close()
    return received.hexdigest()


async def test_many_downloads_share_the_partition(base: Path, nic: str, port: int, tmp_path: Path) -> None:
    assert CLIENTS * min(BYTES, WINDOW) > 2 * (SHORT + LONG)
    (tmp_path / "random.bin").write_bytes(content := secrets.token_bytes(BYTES))
    up("--nic", nic, "--publish", f"{port}:80", "--root", str(tmp_path))
    async with asyncio.timeout(LIMIT):
        digests = await asyncio.gather(*(download(port) for _ in range(CLIENTS)))
    assert digests == [hashlib.sha256(content).hexdigest()] * CLIENTS
