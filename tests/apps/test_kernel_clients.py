"""Ordinary clients against the web server, over the kernel's TCP."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from dlibos_node.apps.web.routes import PAGE
from dlibos_node.apps.web.server import WebServer
from tests.apps.adapter import LoopTimers, listening

T = TypeVar("T")
LARGE = os.urandom(5_000_000)
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "large.bin").write_bytes(LARGE)
    return tmp_path


async def with_client(root: Path | None, client: Callable[[int], T]) -> T:
    """Run `client(port)` in a thread beside a server."""
    server = WebServer(root, LoopTimers())
    async with listening(server.accept) as port:
        return await asyncio.to_thread(client, port)


async def curl(root: Path | None, *arguments: str, data: bytes = b"") -> bytes:
    """Run curl; `{}` in an argument becomes the server's address."""
    server = WebServer(root, LoopTimers())
    async with listening(server.accept) as port:
        process = await asyncio.create_subprocess_exec(
            "curl",
            "-sS",
            "--max-time",
            "30",
            *[argument.replace("{}", f"http://127.0.0.1:{port}") for argument in arguments],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(data)
    assert process.returncode == 0
    return out


async def test_keep_alive_by_http_client(root: Path) -> None:
    def client(port: int) -> list[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        found = []
        for method, target, body in (
            ("GET", "/", None),
            ("GET", "/large.bin", None),
            ("POST", "/echo", b"abc" * 1000),
            ("HEAD", "/large.bin", None),
            ("GET", "/missing", None),
            ("GET", "/", None),
        ):
            connection.request(method, target, body)
            found.append(connection.getresponse().read())
        connection.close()
        return found

    found = await with_client(root, client)
    assert found == [PAGE, LARGE, b"abc" * 1000, b"", b"404 Not Found\n", PAGE]


async def test_a_chunked_upload_by_http_client() -> None:
    def client(port: int) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        pieces: Iterator[bytes] = iter([LARGE[at : at + 70_000] for at in range(0, len(LARGE), 70_000)])
        connection.request("PUT", "/sink", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        answer = connection.getresponse().read()
        connection.close()
        return answer

    digest = hashlib.sha256(LARGE).hexdigest().encode()
    assert await with_client(None, client) == b'{"bytes": 5000000, "sha256": "%s"}\n' % digest


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    def client(port: int) -> bytes:
        with socket.socket() as peer:
            peer.settimeout(20)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
            peer.connect(("127.0.0.1", port))
            head = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(LARGE)
            sender = threading.Thread(target=peer.sendall, args=(head + LARGE,))
            sender.start()
            received = b"".join(iter(lambda: peer.recv(10_000), b""))
            sender.join()
        return received

    assert (await with_client(None, client)).endswith(LARGE)


async def test_many_connections_at_once() -> None:
    async def one(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5 + b"GET / HTTP/1.0\r\n\r\n")
        try:
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    server = WebServer(None, LoopTimers())
    async with listening(server.accept) as port:
        found = await asyncio.gather(*[one(port) for _ in range(200)])
    assert [answer.count(PAGE) for answer in found] == [6] * 200
    assert server.statistics.responses[2] == 1200


@needs_curl
async def test_curl_downloads(root: Path) -> None:
    assert await curl(root, "{}/large.bin") == LARGE
    assert await curl(root, "-r", "1000-1999", "{}/large.bin") == LARGE[1000:2000]
    assert await curl(root, "--http1.0", "{}/large.bin") == LARGE


@needs_curl
async def test_curl_resumes(root: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(LARGE[:1_234_567])
    await curl(root, "-C", "-", "-o", str(part), "{}/large.bin")
    assert part.read_bytes() == LARGE


@needs_curl
async def test_curl_uploads(root: Path) -> None:
    file = str(root / "large.bin")
    assert await curl(None, "-H", "Expect: 100-continue", "--data-binary", f"@{file}", "{}/echo") == LARGE
    assert await curl(None, "-T", "-", "{}/echo", data=LARGE) == LARGE
    assert await curl(None, "--http2", "--data-binary", "abc", "{}/echo") == b"abc"


@needs_curl
async def test_curl_is_refused_early(root: Path) -> None:
    status = ("-o", os.devnull, "-w", "%{http_code}")
    assert await curl(None, *status, "-H", "Expect: 100-continue", "-T", str(root / "large.bin"), "{}/x") == b"413"
    assert await curl(None, *status, "-X", "BREW", "{}/") == b"501"
    assert await curl(root, *status, "--path-as-is", "{}/../large.bin") == b"400"
