"""Bytes of any kind never raise: each connection waits for more, answers, or ends with a proper refusal."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.apps.cases import CASES
from tests.apps.exchange import answers, drive, serve

FRAGMENTS = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"HEAD /x HTTP/1.0\r\n",
        b"POST /echo HTTP/1.1\r\n",
        b"PUT /sink HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Upgrade: x\r\nConnection: upgrade\r\n",
        b"Expect: 100-continue\r\n",
        b"Range: bytes=0-\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
        b"\0",
        b" ",
        b":",
    ]
)
STREAMS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(FRAGMENTS, st.binary(max_size=8)), max_size=20).map(b"".join),
)
STATUSES = {200, 204, 400, 404, 405, 408, 413, 414, 417, 431, 501, 505}


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *[at % (len(data) + 1) for at in cuts]})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def check(data: bytes, cuts: list[int]) -> None:
    whole = drive(serve(), [data] if data else [])
    parts = drive(serve(), cut(data, cuts))
    assert not whole.aborted
    assert parts.closing == whole.closing
    assert b"chunked" in whole.sent or parts.sent == whole.sent  # a body's chunks may be cut differently
    heads = [part for part in bytes(whole.sent).split(b"\r\n") if part.startswith(b"HTTP/1.1 ")]
    assert {int(head.split()[1]) for head in heads} <= STATUSES | {100}
    refused = bool(heads) and int(heads[-1].split()[1]) in {413, 414, 417, 431, 501, 505}
    assert whole.closing or not refused


@settings(max_examples=400, deadline=None)
@given(STREAMS, st.lists(st.integers(min_value=0), max_size=6))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    check(data, cuts)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([case[1] for case in CASES if len(case[1]) < 400]),
    st.lists(st.tuples(st.integers(min_value=0), st.binary(min_size=1, max_size=2)), max_size=4),
    st.lists(st.integers(min_value=0), max_size=6),
)
def test_known_requests_damaged(data: bytes, damage: list[tuple[int, bytes]], cuts: list[int]) -> None:
    damaged = bytearray(data)
    for at, put in damage:
        damaged[at % len(data) : at % len(data) + len(put)] = put
    check(bytes(damaged), cuts)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000), st.lists(st.integers(min_value=1, max_value=300), max_size=8))
def test_any_body_comes_back(body: bytes, sizes: list[int]) -> None:
    left, chunks = body, b""
    for size in sizes:
        if left:
            chunks += b"%x\r\n%s\r\n" % (len(left[:size]), left[:size])
            left = left[size:]
    chunks += (b"%x\r\n%s\r\n" % (len(left), left) if left else b"") + b"0\r\n\r\n"
    data = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    for parts in ([data * 2], cut(data * 2, sizes), [(data * 2)[at : at + 7] for at in range(0, 2 * len(data), 7)]):
        assert [answer.body for answer in answers(drive(serve(), parts).sent)] == [body, body]
