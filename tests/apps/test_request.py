"""Heads that were understood, and heads that are remembered."""

from __future__ import annotations

import pytest

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.request import KnownRequests, Request, RequestParser
from tests.apps.cases import CASES


def parse(head: bytes) -> Request:
    request = RequestParser().parse(head)
    assert isinstance(request, Request)
    return request


def test_fields() -> None:
    request = parse(
        b"PUT /a?b HTTP/1.1\r\nHoSt:  a \r\nX: 1\r\nx:2\r\nContent-Length: 0012\r\nExpect: 100-Continue\r\n\r\n"
    )
    assert (request.method, request.target, request.path) == ("PUT", b"/a?b", "/a")
    assert request.headers == {b"host": b"a", b"x": b"1, 2", b"content-length": b"0012", b"expect": b"100-Continue"}
    assert (request.modern, request.keep_alive, request.length, request.expects_continue) == (True, True, 12, True)


@pytest.mark.parametrize(
    ("version", "field", "keep_alive", "persistence"),
    [
        ("1.1", "X: y", True, b""),
        ("1.1", "Connection: close", False, b"Connection: close\r\n"),
        ("1.1", "Connection: x , Close", False, b"Connection: close\r\n"),
        ("1.0", "X: y", False, b"Connection: close\r\n"),
        ("1.0", "Connection: Keep-Alive", True, b"Connection: keep-alive\r\n"),
    ],
)
def test_persistence(version: str, field: str, keep_alive: bool, persistence: bytes) -> None:
    request = parse(f"GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n\r\n".encode())
    assert (request.keep_alive, request.persistence) == (keep_alive, persistence)


def test_one_parser_understands_a_head_as_a_new_one_does() -> None:
    """The ground of `KnownRequests`: between messages a parser is as new."""
    used, heads = RequestParser(), 0
    for _, data, _, _ in CASES:
        head = data[: data.find(b"\r\n\r\n") + 4]
        fresh = RequestParser()
        expected = fresh.parse(head) if head else None
        if isinstance(expected, Request) and fresh.complete and expected.keep_alive:
            again = used.parse(head)
            assert isinstance(again, Request)
            assert used.complete
            for name in ("method", "target", "path", "headers", "modern", "keep_alive", "length", "expects_continue"):
                assert getattr(again, name) == getattr(expected, name)
            heads += 1
    assert heads > 20


def test_known_requests_are_bounded() -> None:
    known = KnownRequests()
    request = parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    for number in range(limits.KNOWN_REQUESTS + 1):
        known.add(b"%d" % number, request)
    assert known.find(b"0") is None
    assert known.find(b"%d" % limits.KNOWN_REQUESTS) is request
    known.add(bytes(limits.KNOWN_HEAD + 1), request)
    assert known.find(bytes(limits.KNOWN_HEAD + 1)) is None
