from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dlibos_orchestrator.bench import page
from dlibos_orchestrator.errors import MeshStateError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        pass


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "www"
    page.write(folder)
    return folder


@pytest.fixture
def address(root: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_page_has_128_bytes(root: Path) -> None:
    assert len(page.PAGE) == 128
    assert (root / "index.html").read_bytes() == page.PAGE


def test_a_server_of_the_page_passes(address: str) -> None:
    assert page.fetch(address) == page.PAGE
    page.check([], "nginx", address)
    page.check(["env", "-u", "NOTHING"], "nginx", address)


def test_a_server_of_something_else_does_not(address: str, root: Path) -> None:
    (root / "index.html").write_bytes(page.PAGE[:-1])
    with pytest.raises(MeshStateError, match=r"nginx at .* serves 127 bytes that are not the page"):
        page.check([], "nginx", address)


def test_no_page_and_no_server(address: str, root: Path) -> None:
    (root / "index.html").unlink()
    root.rmdir()
    with pytest.raises(ValueError, match="status 404"):
        page.fetch(address)
    with pytest.raises(MeshStateError, match=r"mesh at 127\.0\.0\.1:1 does not serve the page: .*refused"):
        page.check([], "mesh", "127.0.0.1:1")
