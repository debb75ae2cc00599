"""What a connection answers, whole and in pieces, alone and behind others. The table is in `cases`."""

from __future__ import annotations

import re
from email.utils import formatdate
from pathlib import Path

import pytest

from dlibos_node.apps.web.routes import PAGE
from dlibos_node.apps.web.server import WebServer
from dlibos_node.errors import ConfigurationError
from tests.apps.cases import CASES, H, chunked, get, post
from tests.apps.exchange import DATE, NOW, answers, drive, each_byte, serve
from tests.apps.fake import FakeTimers

NAMES = [case[0] for case in CASES]


@pytest.mark.parametrize(("_", "data", "expected", "closed"), CASES, ids=NAMES)
def test_whole(_: str, data: bytes, expected: list[tuple[int, bytes | None]], closed: bool) -> None:
    connection = drive(serve(), [data])
    check(connection.sent, data, expected)
    assert connection.closing == closed
    assert not connection.aborted
    assert not connection.paused


@pytest.mark.parametrize(("_", "data", "expected", "closed"), CASES, ids=NAMES)
def test_byte_by_byte(_: str, data: bytes, expected: list[tuple[int, bytes | None]], closed: bool) -> None:
    connection = drive(serve(), each_byte(data))
    check(connection.sent, data, expected)
    assert connection.closing == closed


@pytest.mark.parametrize(("_", "data", "expected", "closed"), CASES, ids=NAMES)
def test_cut_in_two_anywhere(_: str, data: bytes, expected: list[tuple[int, bytes | None]], closed: bool) -> None:
    whole = drive(serve(), [data])
    cuts = (
        range(1, len(data)) if len(data) < 400 else (*range(1, 60), len(data) // 2, *range(len(data) - 60, len(data)))
    )
    for cut in cuts:
        connection = drive(serve(), [data[:cut], data[cut:]])
        assert connection.closing == closed
        if b"chunked" in connection.sent:  # the client's chunks are not kept: the body counts
            check(connection.sent, data, expected)
        else:
            assert connection.sent == whole.sent


@pytest.mark.parametrize(("_", "data", "expected", "closed"), CASES, ids=NAMES)
def test_repeated_on_one_server(_: str, data: bytes, expected: list[tuple[int, bytes | None]], closed: bool) -> None:
    """A head that is remembered means what it meant at first, alone in a read and behind another."""
    server = serve()
    first = drive(server, [data])
    again = drive(server, [data])
    assert again.sent == first.sent
    assert again.closing == first.closing == closed
    behind = drive(server, [get(b"/") + data])
    check(behind.sent, get(b"/") + data, [(200, PAGE), *expected])
    assert behind.closing == closed


HEADED = [case for case in CASES if case[1].startswith(b"GET") and len(case[2]) == 1 and "8 KiB" not in case[0]]


@pytest.mark.parametrize(("data", "expected"), [case[1:3] for case in HEADED], ids=[case[0] for case in HEADED])
def test_head_says_what_get_says(data: bytes, expected: list[tuple[int, bytes | None]]) -> None:
    got = drive(serve(), [data])
    asked = drive(serve(), [b"HEAD" + data[3:]])
    head, _, body = bytes(asked.sent).partition(b"\r\n\r\n")
    if b" 400 " in head or b" 414 " in head or b" 431 " in head or b" 505 " in head:
        assert asked.sent[:12] == got.sent[:12]  # the method may not have been understood
        return
    assert body == b""
    assert head == bytes(got.sent).partition(b"\r\n\r\n")[0]
    assert asked.closing == got.closing
    assert answers(asked.sent, ["HEAD"])[0].status == expected[0][0]


def check(sent: bytearray, data: bytes, expected: list[tuple[int, bytes | None]]) -> None:
    methods = [
        match.decode() for match in re.findall(rb"(?:^|(?<=\n)|(?<=\r\n\r\n))([A-Z]+) [^ ]+ HTTP/1\.[01]\r\n", data)
    ]
    found = answers(sent, methods)
    assert [answer.status for answer in found] == [status for status, _ in expected]
    for answer, (_, body) in zip(found, expected, strict=True):
        assert body is None or answer.body == body
        assert answer.headers["Server"] == "dlibos"
        assert answer.headers["Date"] == DATE


def test_the_page_is_the_benchmark_page() -> None:
    assert len(PAGE) == 128


def test_sink_answers_length_and_digest() -> None:
    connection = drive(serve(), [post(b"/sink", b"Content-Length: 3\r\n", b"abc")])
    digest = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert answers(connection.sent)[0].body == b'{"bytes": 3, "sha256": "%s"}\n' % digest


def test_allow_names_the_methods_of_the_resource() -> None:
    for target, allow in ((b"/echo", "POST, PUT, OPTIONS"), (b"/x", "GET, HEAD, OPTIONS")):
        options = drive(serve(), [b"OPTIONS " + target + b" HTTP/1.1\r\n" + H + b"\r\n"])
        delete = drive(serve(), [b"DELETE " + target + b" HTTP/1.1\r\n" + H + b"\r\n"])
        assert answers(options.sent)[0].headers["Allow"] == answers(delete.sent)[0].headers["Allow"] == allow


def test_continue_is_sent_before_the_body_comes() -> None:
    connection = drive(serve(), [post(b"/echo", b"Expect: 100-continue\r\nContent-Length: 2\r\n")])
    assert connection.sent == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_persistence_is_said_where_the_version_does_not() -> None:
    said = [
        answers(drive(serve(), [get(b"/", fields, version)]).sent)[0].headers["Connection"]
        for fields, version in (
            (b"", b"1.1"),
            (b"Connection: close\r\n", b"1.1"),
            (b"", b"1.0"),
            (b"Connection: keep-alive\r\n", b"1.0"),
        )
    ]
    assert said == [None, "close", "close", "keep-alive"]


def test_a_remembered_answer_carries_the_date_of_its_second(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    now = NOW
    server = WebServer(tmp_path, FakeTimers(), lambda: now)
    pageless = WebServer(None, FakeTimers(), lambda: now)
    for step in (0, 0, 0.5, 0.5, 1, 1, -3):
        now += step
        for asked, target in ((server, b"/file"), (server, b"/"), (pageless, b"/")):
            (answer,) = answers(drive(asked, [get(target)]).sent)
            assert (answer.status, answer.headers["Date"]) == (200, formatdate(int(now), usegmt=True))


def test_an_index_that_appears_is_served_at_once(tmp_path: Path) -> None:
    server = serve(tmp_path)
    assert answers(drive(server, [get(b"/")] * 2).sent)[1].body == PAGE
    (tmp_path / "index.html").write_bytes(b"own")
    assert answers(drive(server, [get(b"/")]).sent)[0].body == b"own"


def test_a_pipelined_batch_is_one_send() -> None:
    connection = drive(serve(), [get(b"/") * 20])
    assert len(answers(connection.sent)) == 20
    assert connection.sends == 1


def test_a_chunked_body_no_one_reads_ends_at_its_limit() -> None:
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    connection = drive(serve(), [chunked(b"/", b""), *[chunk] * 40])
    assert [answer.status for answer in answers(connection.sent)] == [413]
    assert connection.closing


def test_an_echo_broken_midway_ends_without_its_last_chunk() -> None:
    connection = drive(serve(), [chunked(b"/echo", b"2\r\nab\r\nzz\r\n")])
    assert connection.sent.endswith(b"\r\n\r\n2\r\nab\r\n")
    assert connection.closing


@pytest.mark.parametrize("data", [b"GET / HT", post(b"/echo", b"Content-Length: 5\r\n"), chunked(b"/sink", b"5\r\nab")])
def test_half_a_request_and_then_eof(data: bytes) -> None:
    connection = drive(serve(), [data], eof=True)
    assert [answer.status for answer in answers(connection.sent)] == [400]
    assert connection.closing


@pytest.mark.parametrize(("data", "count"), [(b"", 0), (get(b"/"), 1), (get(b"/") * 3, 3), (b"\r\n", 0)])
def test_whole_requests_and_then_eof(data: bytes, count: int) -> None:
    connection = drive(serve(), [data], eof=True)
    assert [answer.status for answer in answers(connection.sent)] == [200] * count
    assert connection.closing


def test_a_file_root_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a directory"):
        serve(tmp_path / "missing")
