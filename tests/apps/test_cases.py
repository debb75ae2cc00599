"""What the server answers to one request, or a few, whole and in pieces of one byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dlibos_node.apps.web.routes import PAGE
from dlibos_node.errors import ConfigurationError

from tests.apps.exchange import DATE, answers, drive, each_byte, serve

Case = tuple[str, bytes, list[tuple[int, bytes | None]], bool]
"""Name, input, (status, body or None for any) of each answer, whether the connection is then closed."""

H = b"Host: a\r\n"
BROKEN: list[tuple[int, bytes | None]] = [(400, b"400 Bad Request\n")]


def get(target: bytes, fields: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"GET " + target + b" HTTP/" + version + b"\r\n" + H + fields + b"\r\n"


def post(target: bytes, fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST " + target + b" HTTP/" + version + b"\r\n" + H + fields + b"\r\n" + body


def chunked(target: bytes, body: bytes, fields: bytes = b"") -> bytes:
    return post(target, b"Transfer-Encoding: chunked\r\n" + fields, body)


CASES: list[Case] = [
    # Plain requests and persistence
    ("page", get(b"/"), [(200, PAGE)], False),
    ("page with a query", get(b"/?a=b&c=%zz"), [(200, PAGE)], False),
    ("absolute form", get(b"http://b.example:80/"), [(200, PAGE)], False),
    ("absolute form without a path", get(b"http://b.example"), [(200, PAGE)], False),
    ("absolute form with a query only", get(b"http://b.example?x"), [(200, PAGE)], False),
    ("empty lines first", b"\r\n\r\n\r\n" + get(b"/"), [(200, PAGE)], False),
    ("close asked for", get(b"/", b"Connection: close\r\n"), [(200, PAGE)], True),
    ("close among tokens", get(b"/", b"Connection: close, keep-alive\r\n"), [(200, PAGE)], True),
    ("close in capitals", get(b"/", b"Connection: CLOSE\r\n"), [(200, PAGE)], True),
    ("keep-alive asked for", get(b"/", b"Connection: keep-alive\r\n"), [(200, PAGE)], False),
    ("nothing after close", get(b"/", b"Connection: close\r\n") + get(b"/"), [(200, PAGE)], True),
    ("1.0", get(b"/", version=b"1.0"), [(200, PAGE)], True),
    ("1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", [(200, PAGE)], True),
    ("1.0 keep-alive", get(b"/", b"Connection: keep-alive\r\n", b"1.0") * 2, [(200, PAGE)] * 2, False),
    ("three in a row", get(b"/") * 3, [(200, PAGE)] * 3, False),
    ("different ones in a row", get(b"/") + get(b"/no") + get(b"/"), [(200, PAGE), (404, None), (200, PAGE)], False),
    ("empty header value", get(b"/", b"X:\r\nY: 1\r\n"), [(200, PAGE)], False),
    ("high bytes in a value", get(b"/", b"X: \x80\xff\r\n"), [(200, PAGE)], False),
    ("half a request", b"GET / HTTP/1.1\r\nHo", [], False),
    ("nothing but empty lines", b"\r\n\r\n\r\n\r", [], False),
    # Other methods
    ("HEAD", b"HEAD / HTTP/1.1\r\n" + H + b"\r\n", [(200, b"")], False),
    ("HEAD, then GET", b"HEAD / HTTP/1.1\r\n" + H + b"\r\n" + get(b"/"), [(200, b""), (200, PAGE)], False),
    ("HEAD of nothing", b"HEAD /no HTTP/1.1\r\n" + H + b"\r\n" + get(b"/"), [(404, b""), (200, PAGE)], False),
    ("HEAD of echo", b"HEAD /echo HTTP/1.1\r\n" + H + b"\r\n", [(405, b"")], False),
    ("HEAD refused", b"HEAD / HTTP/1.1\r\n\r\n", [(400, b"")], True),
    ("OPTIONS", b"OPTIONS / HTTP/1.1\r\n" + H + b"\r\n", [(204, b"")], False),
    ("OPTIONS of the server", b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", [(204, b"")], False),
    ("OPTIONS out of the root", b"OPTIONS /../x HTTP/1.1\r\n" + H + b"\r\n", [(400, None)], False),
    ("GET of the server", get(b"*"), [(400, None)], False),
    ("GET of echo", get(b"/echo"), [(405, None)], False),
    ("GET of sink", get(b"/sink"), [(405, None)], False),
    ("POST to a file", post(b"/", b"Content-Length: 3\r\n", b"abc") + get(b"/"), [(405, None), (200, PAGE)], False),
    ("DELETE", b"DELETE / HTTP/1.1\r\n" + H + b"\r\n", [(405, None)], False),
    ("TRACE", b"TRACE / HTTP/1.1\r\n" + H + b"\r\n", [(405, None)], False),
    ("PATCH of echo", b"PATCH /echo HTTP/1.1\r\n" + H + b"\r\n", [(405, None)], False),
    ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\n" + H + b"\r\n", [(501, None)], True),
    ("a method nobody knows", b"BREW / HTTP/1.1\r\n" + H + b"\r\n", [(501, None)], True),
    ("a method the parser alone knows", b"PROPFIND / HTTP/1.1\r\n" + H + b"\r\n", [(501, None)], True),
    ("a method in small letters", b"get / HTTP/1.1\r\n" + H + b"\r\n", [(501, None)], True),
    # Bodies
    ("echo", post(b"/echo", b"Content-Length: 5\r\n", b"hello"), [(200, b"hello")], False),
    ("echo by PUT", b"PUT" + post(b"/echo", b"Content-Length: 2\r\n", b"hi")[4:], [(200, b"hi")], False),
    ("echo of nothing", post(b"/echo", b"Content-Length: 0\r\n") + get(b"/"), [(200, b""), (200, PAGE)], False),
    ("echo without a length", post(b"/echo", b"") + get(b"/"), [(200, b""), (200, PAGE)], False),
    ("echo twice", post(b"/echo", b"Content-Length: 2\r\n", b"ab") * 2, [(200, b"ab")] * 2, False),
    ("echo by an escaped path", post(b"/%65cho?x", b"Content-Length: 2\r\n", b"ab"), [(200, b"ab")], False),
    ("echo, absolute form", post(b"http://a/echo", b"Content-Length: 2\r\n", b"ab"), [(200, b"ab")], False),
    ("echo 1.0", post(b"/echo", b"Content-Length: 2\r\n", b"ab", b"1.0"), [(200, b"ab")], True),
    ("echo and close", post(b"/echo", b"Content-Length: 2\r\nConnection: close\r\n", b"ab"), [(200, b"ab")], True),
    (
        "echo of a request",
        post(b"/echo", b"Content-Length: %d\r\n" % len(get(b"/")), get(b"/")),
        [(200, get(b"/"))],
        False,
    ),
    ("chunked echo", chunked(b"/echo", b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), [(200, b"hello!")], False),
    ("chunked echo of nothing", chunked(b"/echo", b"0\r\n\r\n") + get(b"/"), [(200, b""), (200, PAGE)], False),
    ("chunked, then GET", chunked(b"/echo", b"2\r\nab\r\n0\r\n\r\n") + get(b"/"), [(200, b"ab"), (200, PAGE)], False),
    ("chunk extensions", chunked(b"/echo", b'2;a=b;c="d"\r\nab\r\n0;e\r\n\r\n'), [(200, b"ab")], False),
    ("trailers", chunked(b"/echo", b"2\r\nab\r\n0\r\nX: y\r\nHost: b\r\n\r\n") * 2, [(200, b"ab")] * 2, False),
    (
        "CRLF CRLF in a chunk",
        chunked(b"/echo", b"6\r\n\r\n\r\n\r\n\r\n0\r\n\r\n") * 2,
        [(200, b"\r\n\r\n\r\n")] * 2,
        False,
    ),
    ("hexadecimal chunk size", chunked(b"/echo", b"A\r\n0123456789\r\n00\r\n\r\n"), [(200, b"0123456789")], False),
    (
        "chunked in capitals",
        post(b"/echo", b"Transfer-Encoding: CHUNKED\r\n", b"1\r\na\r\n0\r\n\r\n"),
        [(200, b"a")],
        False,
    ),
    ("chunked to a file", chunked(b"/", b"1\r\na\r\n0\r\n\r\n") + get(b"/"), [(405, None), (200, PAGE)], False),
    ("sink", post(b"/sink", b"Content-Length: 3\r\n", b"abc"), [(200, None)], False),
    ("sink of nothing", post(b"/sink", b"Content-Length: 0\r\n"), [(200, None)], False),
    ("chunked sink", chunked(b"/sink", b"3\r\nabc\r\n0\r\n\r\n"), [(200, None)], False),
    ("GET with a body", get(b"/", b"Content-Length: 2\r\n") + b"ab" + get(b"/"), [(200, PAGE)] * 2, False),
    ("expect 100", post(b"/echo", b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"ab"), [(200, b"ab")], False),
    ("expect 100 in vain", post(b"/", b"Expect: 100-continue\r\nContent-Length: 2\r\n"), [(405, None)], True),
    (
        "expect 100 from 1.0",
        post(b"/echo", b"Expect: 100-continue\r\nContent-Length: 1\r\n", b"a", b"1.0"),
        [(200, b"a")],
        True,
    ),
    ("expect something else", get(b"/", b"Expect: tea\r\n"), [(417, None)], True),
    ("upgrade declined", get(b"/", b"Connection: Upgrade\r\nUpgrade: h2c\r\n") * 2, [(200, PAGE)] * 2, False),
    (
        "upgrade with a body declined",
        post(b"/echo", b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n", b"abc") * 2,
        [(200, b"abc")] * 2,
        False,
    ),
    # What must not be believed
    (
        "length and chunked",
        post(b"/echo", b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        BROKEN,
        True,
    ),
    ("chunked and length", chunked(b"/echo", b"0\r\n\r\n", b"Content-Length: 3\r\n"), BROKEN, True),
    ("two lengths", post(b"/echo", b"Content-Length: 3\r\nContent-Length: 4\r\n", b"abc"), BROKEN, True),
    ("the same length twice", post(b"/echo", b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"), BROKEN, True),
    ("a list of lengths", post(b"/echo", b"Content-Length: 3, 3\r\n", b"abc"), BROKEN, True),
    ("a negative length", post(b"/echo", b"Content-Length: -3\r\n"), BROKEN, True),
    ("a signed length", post(b"/echo", b"Content-Length: +3\r\n"), BROKEN, True),
    ("a length that is none", post(b"/echo", b"Content-Length: abc\r\n"), BROKEN, True),
    ("a length beyond 64 bits", post(b"/echo", b"Content-Length: 99999999999999999999999\r\n"), BROKEN, True),
    ("an empty length", post(b"/echo", b"Content-Length:\r\n"), BROKEN, True),
    ("another coding", post(b"/echo", b"Transfer-Encoding: gzip\r\n"), BROKEN, True),
    (
        "another coding below",
        post(b"/echo", b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
        [(501, None)],
        True,
    ),
    ("something like chunked", post(b"/echo", b"Transfer-Encoding: xchunked\r\n"), BROKEN, True),
    ("chunked twice", chunked(b"/echo", b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n"), BROKEN, True),
    ("chunked in 1.0", post(b"/echo", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0"), BROKEN, True),
    ("a chunk size that is none", chunked(b"/echo", b"x\r\n"), BROKEN, True),
    ("0x in a chunk size", chunked(b"/echo", b"0x1\r\na\r\n"), BROKEN, True),
    ("a space in a chunk size", chunked(b"/echo", b"1 \r\na\r\n"), BROKEN, True),
    ("a chunk size beyond 64 bits", chunked(b"/echo", b"fffffffffffffffff\r\n"), BROKEN, True),
    ("LF after a chunk size", chunked(b"/echo", b"1\na\r\n0\r\n\r\n"), BROKEN, True),
    ("LF in an extension", chunked(b"/echo", b"1;\na\r\n0\r\n\r\n"), BROKEN, True),
    ("a chunk that is too long", chunked(b"/sink", b"1\r\nab\r\n0\r\n\r\n"), BROKEN, True),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", BROKEN, True),
    ("two Hosts", get(b"/", b"Host: b\r\n"), BROKEN, True),
    ("the same Host twice", get(b"/", H), BROKEN, True),
    ("a Host that is none", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BROKEN, True),
    ("a Host with a user", b"GET / HTTP/1.1\r\nHost: u@b\r\n\r\n", BROKEN, True),
    ("an IPv6 Host", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", [(200, PAGE)], False),
    ("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", [(200, PAGE)], False),
    ("a folded line", get(b"/", b"X: a\r\n b\r\n"), BROKEN, True),
    ("a space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", BROKEN, True),
    ("a space before the colon", get(b"/", b"X : a\r\n"), BROKEN, True),
    ("a field without a name", get(b"/", b": a\r\n"), BROKEN, True),
    ("a field without a colon", get(b"/", b"X\r\n"), BROKEN, True),
    ("NUL in a field", get(b"/", b"X: a\0b\r\n"), BROKEN, True),
    ("CR in a field", get(b"/", b"X: a\rb\r\n"), BROKEN, True),
    ("LF lines", b"GET / HTTP/1.1\nHost: a\n\n", BROKEN, True),
    ("LF at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", BROKEN, True),
    ("a TLS hello", b"\x16\x03\x01\x02\x00", BROKEN, True),
    ("a request line without version", b"GET /\r\n\r\n", BROKEN, True),
    ("two spaces", b"GET  / HTTP/1.1\r\n" + H + b"\r\n", BROKEN, True),
    ("a space in the target", get(b"/a b"), BROKEN, True),
    ("a space at the end", b"GET / HTTP/1.1 \r\n" + H + b"\r\n", BROKEN, True),
    ("a high byte in the target", get(b"/\xe4"), BROKEN, True),
    ("another protocol", b"GET / ICE/1.0\r\n\r\n", BROKEN, True),
    ("a target without a slash", get(b"a"), BROKEN, True),
    ("a fragment", get(b"/#a"), [(400, None)], False),
    ("a bad escape", get(b"/%zz"), [(400, None)], False),
    ("half an escape", get(b"/%4"), [(400, None)], False),
    ("an escaped NUL", get(b"/a%00.html"), [(400, None)], False),
    ("a step up", get(b"/../etc/passwd"), [(400, None)], False),
    ("an escaped step up", get(b"/%2e%2E/etc/passwd"), [(400, None)], False),
    ("a step up by an escaped slash", get(b"/a%2f..%2f..%2fetc/passwd"), [(400, None)], False),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [(505, None)], True),
    ("HTTP/1.2", get(b"/", version=b"1.2"), [(505, None)], True),
    ("HTTP/0.9", get(b"/", version=b"0.9"), [(505, None)], True),
    ("HTTP/1.10", get(b"/", version=b"1.10"), BROKEN, True),
    ("broken after a good one", get(b"/") + b"GET / HTTP/1.1\r\n\r\n" + get(b"/"), [(200, PAGE), *BROKEN], True),
    # Limits
    ("a line of 8 KiB", get(b"/" + b"a" * (8192 - 14)), [(404, None)], False),
    ("a line above 8 KiB", get(b"/" + b"a" * (8192 - 13)), [(414, None)], True),
    ("a line without end", b"GET /" + b"a" * 9000, [(414, None)], True),
    ("fields of 16 KiB", get(b"/", b"X: " + b"a" * (16384 - 16) + b"\r\n"), [(200, PAGE)], False),
    ("fields above 16 KiB", get(b"/", b"X: " + b"a" * (16384 - 15) + b"\r\n"), [(431, None)], True),
    ("a field without end", b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 17000, [(431, None)], True),
    ("100 fields", get(b"/", b"X: a\r\n" * 99), [(200, PAGE)], False),
    ("101 fields", get(b"/", b"X: a\r\n" * 100), [(431, None)], True),
    ("a body above 1 MiB", post(b"/", b"Content-Length: 1048577\r\n"), [(413, None)], True),
    ("a long extension", chunked(b"/echo", b"1;" + b"a" * 17000), [(400, None)], True),
    ("long trailers", chunked(b"/echo", b"0\r\nX: " + b"a" * 17000), [(400, None)], True),
]
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
