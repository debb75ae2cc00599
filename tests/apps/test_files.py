"""Static files: what is found, what is refused, ranges and conditions."""

from __future__ import annotations

import os
import socket
from email.utils import formatdate
from pathlib import Path

import pytest

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.files import FileStore, StaticFile
from dlibos_node.apps.web.routes import PAGE
from dlibos_node.apps.web.server import WebServer
from tests.apps.exchange import NOW, Answer, answers, drive, serve
from tests.apps.fake import FakeTimers

MODIFIED = 784111777
SMALL = bytes(range(256))
LARGE = os.urandom(200_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site / "sub dir").mkdir(parents=True)
    (site / "small.bin").write_bytes(SMALL)
    (site / "large.bin").write_bytes(LARGE)
    (site / "empty.txt").write_bytes(b"")
    (site / "page.html").write_bytes(b"<p>")
    (site / "archive.tar.gz").write_bytes(b"gz")
    (site / "sub dir" / "index.html").write_bytes(b"inside")
    (site / "\u00fc.txt").write_bytes(b"umlaut")
    (site / "bare").mkdir()
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "site-secret.txt").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "index.html").write_bytes(b"secret")
    for name in ("small.bin", "large.bin", "empty.txt"):
        os.utime(site / name, (MODIFIED, MODIFIED))
    return site


def ask(root: Path | None, target: str, method: str = "GET", **fields: str) -> Answer:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    data = f"{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode("latin-1")
    connection = drive(serve(root), [data])
    assert not connection.closing
    assert not connection.paused
    (answer,) = answers(connection.sent, [method])
    return answer


@pytest.mark.parametrize(
    ("target", "body", "kind"),
    [
        ("/small.bin", SMALL, "application/octet-stream"),
        ("/large.bin", LARGE, "application/octet-stream"),
        ("/empty.txt", b"", "text/plain; charset=utf-8"),
        ("/page.html?x=1", b"<p>", "text/html; charset=utf-8"),
        ("/archive.tar.gz", b"gz", "application/gzip"),
        ("/sub%20dir/", b"inside", "text/html; charset=utf-8"),
        ("/sub%20dir/index.html", b"inside", "text/html; charset=utf-8"),
        ("/%C3%BC.txt", b"umlaut", "text/plain; charset=utf-8"),
        ("//small.bin", SMALL, "application/octet-stream"),
        ("/./sub%20dir/././", b"inside", "text/html; charset=utf-8"),
        ("/", PAGE, "text/html; charset=utf-8"),
    ],
)
def test_found(root: Path, target: str, body: bytes, kind: str) -> None:
    answer = ask(root, target)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert answer.body == body
    head = ask(root, target, "HEAD")
    assert head.body == b""
    assert head.headers.items() == answer.headers.items()


def test_an_index_takes_the_place_of_the_page(root: Path) -> None:
    (root / "index.html").write_bytes(b"own")
    assert ask(root, "/").body == b"own"


def test_a_directory_sends_to_its_slash(root: Path) -> None:
    answer = ask(root, "/sub%20dir?x")
    assert (answer.status, answer.headers["Location"]) == (301, "/sub%20dir/")
    assert ask(root, "//sub%20dir").headers["Location"] == "/sub%20dir/"


@pytest.mark.parametrize(
    "target",
    [
        "/missing",
        "/small.bin/",
        "/small.bin/x",
        "/bare/",
        "/" + "a" * 300,
        "/%252e%252e/secret.txt",
        "/%5c..%5cx",
    ],
)
def test_not_found(root: Path, target: str) -> None:
    assert ask(root, target).status == 404


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/..",
        "/sub%20dir/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/.%2e/secret.txt",
        "/%2e./secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/sub%20dir%2f..%2f..%2fsecret.txt",
        "/../site-secret.txt",
        "/./../secret.txt",
        "//../secret.txt",
        "/small.bin%00.html",
        "/%00",
        "http://a/../secret.txt",
        "http://a/%2e%2e/secret.txt",
    ],
)
def test_no_way_up(root: Path, target: str) -> None:
    answer = ask(root, target)
    assert answer.status == 400
    assert b"secret" not in answer.body


def test_links_may_not_lead_out(root: Path) -> None:
    (root / "file").symlink_to(root.parent / "secret.txt")
    (root / "sibling").symlink_to("../site-secret.txt")
    (root / "directory").symlink_to(root.parent / "outside")
    (root / "chain").symlink_to("file")
    (root / "loop").symlink_to("loop")
    (root / "proc").symlink_to("/proc/self/environ")
    for name in ("file", "sibling", "directory", "directory/", "directory/index.html", "chain", "loop", "proc"):
        answer = ask(root, f"/{name}")
        assert answer.status == 404, name
        assert b"secret" not in answer.body


def test_links_inside_are_followed(root: Path) -> None:
    (root / "alias").symlink_to("small.bin")
    (root / "deep").symlink_to("sub dir")
    assert ask(root, "/alias").body == SMALL
    assert ask(root, "/deep/").body == b"inside"


def test_a_root_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert ask(tmp_path / "link", "/small.bin").body == SMALL


def test_only_regular_files_are_served(root: Path) -> None:
    os.mkfifo(root / "fifo")
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(str(root / "sock"))
        assert ask(root, "/fifo").status == ask(root, "/sock").status == 404
    finally:
        server.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(root: Path) -> None:
    (root / "small.bin").chmod(0)
    assert ask(root, "/small.bin").status == 403


@pytest.mark.parametrize("name", ["small.bin", "large.bin"])
@pytest.mark.parametrize(
    ("field", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=10-19", 10, 20),
        ("bytes=100-", 100, None),
        ("bytes=-1", -1, None),
        ("bytes=-100", -100, None),
        ("bytes=-999999999", 0, None),
        ("bytes=0-999999999", 0, None),
        ("bytes=5-9999999999999999999", 5, None),
        ("bytes= 1-2 ", 1, 3),
        ("Bytes=1-2", 1, 3),
        ("bytes=255-255", 255, 256),
    ],
)
def test_a_range(root: Path, name: str, field: str, start: int, stop: int | None) -> None:
    content = (root / name).read_bytes()
    answer = ask(root, f"/{name}", Range=field)
    assert answer.status == 206
    assert answer.body == content[start:stop]
    first = start % len(content)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(content)}"
    assert answer.headers["Content-Length"] == str(len(answer.body))


@pytest.mark.parametrize(
    "field",
    [
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "bytes=9-3",
        "bytes=0-1,5-6",
        "lines=0-1",
        "bytes 0-1",
        "bytes=--1",
        "bytes=0-1-2",
        "bytes=" + "9" * 5000 + "-",
        "bytes=\u00b2-3",
    ],
)
def test_a_range_that_is_ignored(root: Path, field: str) -> None:
    answer = ask(root, "/small.bin", Range=field)
    assert (answer.status, answer.body) == (200, SMALL)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("small.bin", "bytes=256-"),
        ("small.bin", "bytes=999-1000"),
        ("small.bin", "bytes=-0"),
        ("empty.txt", "bytes=0-"),
    ],
)
def test_a_range_beyond_the_end(root: Path, name: str, field: str) -> None:
    answer = ask(root, f"/{name}", Range=field)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{(root / name).stat().st_size}"


def test_a_range_is_for_get_only(root: Path) -> None:
    answer = ask(root, "/small.bin", "HEAD", Range="bytes=0-1")
    assert (answer.status, answer.headers["Content-Length"]) == (200, "256")


DATE = formatdate(MODIFIED, usegmt=True)
EARLIER = formatdate(MODIFIED - 1, usegmt=True)
LATER = formatdate(MODIFIED + 1, usegmt=True)
ETAG = f'"{MODIFIED * 10**9:x}-100"'


@pytest.mark.parametrize(
    ("field", "status"),
    [(ETAG, 206), (DATE, 206), (f"W/{ETAG}", 200), ('"x"', 200), (EARLIER, 200), (LATER, 200), ("nonsense", 200)],
)
def test_if_range(root: Path, field: str, status: int) -> None:
    assert ask(root, "/small.bin", Range="bytes=0-1", If_Range=field).status == status


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"If_None_Match": ETAG}, 304),
        ({"If_None_Match": f'"x", W/{ETAG}, "y"'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"x"'}, 200),
        ({"If_None_Match": ETAG.strip('"')}, 200),
        ({"If_None_Match": '"x"', "If_Modified_Since": DATE}, 200),
        ({"If_Modified_Since": DATE}, 304),
        ({"If_Modified_Since": LATER}, 304),
        ({"If_Modified_Since": EARLIER}, 200),
        ({"If_Modified_Since": "Sunday, 06-Nov-94 08:49:37 GMT"}, 304),
        ({"If_Modified_Since": "Sun Nov  6 08:49:37 1994"}, 304),
        ({"If_Modified_Since": "yesterday"}, 200),
        ({"If_Modified_Since": "Sun, 99 Nov 99999 08:49:37 GMT"}, 200),
        ({"If_Match": ETAG}, 200),
        ({"If_Match": "*"}, 200),
        ({"If_Match": '"x"'}, 412),
        ({"If_Match": f"W/{ETAG}"}, 412),
        ({"If_Unmodified_Since": DATE}, 200),
        ({"If_Unmodified_Since": EARLIER}, 412),
        ({"If_Match": ETAG, "If_Unmodified_Since": EARLIER}, 200),
        ({"If_Match": ETAG, "If_None_Match": ETAG}, 304),
        ({"If_None_Match": ETAG, "Range": "bytes=0-1"}, 304),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(root: Path, method: str, fields: dict[str, str], status: int) -> None:
    answer = ask(root, "/small.bin", method, **fields)
    assert answer.status == status
    assert status == 412 or answer.headers["ETag"] == ETAG
    assert status != 304 or answer.headers["Content-Length"] is None


class Site:
    """A server over a directory, and a clock that is moved."""

    def __init__(self, root: Path) -> None:
        self.now = NOW
        self.server = WebServer(root, FakeTimers(), lambda: self.now)

    def get(self, after: float) -> Answer:
        self.now += after
        request = b"GET /small.bin HTTP/1.1\r\nHost: a\r\n\r\n"
        return answers(drive(self.server, [request]).sent)[0]


def test_a_changed_file_is_seen_by_the_next_look(root: Path) -> None:
    site = Site(root)
    for content in (b"one", b"two, longer", b"six"):
        (root / "small.bin").write_bytes(content)
        assert [site.get(1 / 512).body for _ in range(3)] == [content] * 3
    (root / "small.bin").unlink()
    assert site.get(1 / 512).status == 404
    (root / "small.bin").symlink_to(root.parent / "secret.txt")
    assert site.get(1 / 512).status == 404


def test_a_file_is_looked_at_once_a_millisecond(root: Path) -> None:
    site = Site(root)
    assert [site.get(0).body for _ in range(2)] == [SMALL] * 2
    (root / "small.bin").write_bytes(b"new")
    assert site.get(1 / 2048).body == SMALL
    assert site.get(1 / 1024).body == b"new"


def test_a_clock_that_was_set_back_keeps_nothing_fresh(root: Path) -> None:
    site = Site(root)
    assert [site.get(0).body for _ in range(2)] == [SMALL] * 2
    (root / "small.bin").write_bytes(b"new")
    assert site.get(-1 / 2048).body == b"new"


def test_a_large_file_is_held_open_only_while_used(root: Path) -> None:
    store = FileStore(root)
    first, second = store.acquire("/large.bin"), store.acquire("/large.bin")
    assert isinstance(first, StaticFile)
    assert first is second
    assert store.open_files == 1
    store.release(first)
    assert first.read_into(memoryview(bytearray(10)), 0) == 10
    store.release(first)
    assert (store.open_files, first.fd) == (0, -1)


def test_a_replaced_file_is_read_to_its_end_by_who_began(root: Path) -> None:
    store = FileStore(root)
    old = store.acquire("/large.bin")
    (root / "new").write_bytes(bytes(100_000))
    (root / "new").replace(root / "large.bin")
    new = store.acquire("/large.bin")
    assert isinstance(old, StaticFile)
    assert isinstance(new, StaticFile)
    buffer = bytearray(10)
    assert old.read_into(memoryview(buffer), 5) == 10
    assert buffer == LARGE[5:15]
    store.release(old)
    assert store.acquire("/large.bin") is new
    store.release(new)
    store.release(new)
    assert store.open_files == 0


def test_open_files_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPEN_FILES", 1)
    (root / "other.bin").write_bytes(LARGE)
    store = FileStore(root)
    held = store.acquire("/large.bin")
    assert isinstance(held, StaticFile)
    assert store.acquire("/other.bin") == 503
    store.release(held)
    assert isinstance(store.acquire("/other.bin"), StaticFile)


def test_small_files_kept_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SMALL_FILES", 4)
    store = FileStore(root)
    for number in range(20):
        (root / f"{number}").write_bytes(b"%d" % number)
        file = store.acquire(f"/{number}")
        assert isinstance(file, StaticFile)
        assert file.content == b"%d" % number
        assert len(store) <= 4
