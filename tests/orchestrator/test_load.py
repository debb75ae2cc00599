from __future__ import annotations

import asyncio

import pytest

from dlibos_orchestrator.demo.http import BadAnswerError, Session, content_length
from dlibos_orchestrator.demo.load import LoadResult, parse_wrk, run_load, summary

WRK = """\
Running 5s test @ http://10.77.0.2/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.80ms    0.31ms   9.02ms   90.00%
    Req/Sec    35.20k     1.10k   37.00k    80.00%
  Latency Distribution
     50%    1.75ms
     75%    1.92ms
     90%    2.10ms
     99%  980.00us
  176543 requests in 5.03s, 40.00MB read
{errors}Requests/sec:  35098.01
Transfer/sec:      7.95MB
"""


def test_what_wrk_prints() -> None:
    result = parse_wrk(WRK.format(errors=""))
    assert result == pytest.approx((176543, 35098.01, 1.75e-3, 980e-6, 0))


def test_errors_that_wrk_counts() -> None:
    errors = "  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 10\n"
    assert parse_wrk(WRK.format(errors=errors)).errors == 17


@pytest.mark.parametrize("text", ["", "unable to connect to 10.77.0.2:80 Connection refused\n"])
def test_wrk_without_a_result(text: str) -> None:
    with pytest.raises(ValueError, match="wrk printed no"):
        parse_wrk(text)


def test_percentiles_of_a_sample() -> None:
    result = summary([n / 1000 for n in range(1, 101)], 0, 2.0)
    assert result == LoadResult(100, 50.0, 0.051, 0.1, 0)
    assert summary([], 3, 1.0) == LoadResult(0, 0.0, 0.0, 0.0, 3)


def test_the_length_of_an_answer() -> None:
    assert content_length(b"HTTP/1.1 200 OK\r\nX: 1\r\ncontent-length: 42\r\n\r\n") == 42
    with pytest.raises(BadAnswerError, match="404"):
        content_length(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\n")
    with pytest.raises(BadAnswerError, match="no Content-Length"):
        content_length(b"HTTP/1.1 200 OK\r\n\r\n")


async def serve_pages(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage")
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    writer.close()


async def test_the_clients_ask_again_and_again_over_their_connections() -> None:
    async with await asyncio.start_server(serve_pages, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        session = await Session.connect("127.0.0.1", port)
        assert [await session.get("/"), await session.get("/")] == [b"page", b"page"]
        session.close()
        result = await run_load("127.0.0.1", port, 0.1, 4)
    assert result.requests >= 4
    assert result.errors == 0
    assert 0 < result.p50 <= result.p99


async def test_a_server_that_hangs_up_is_an_error_of_each_connection() -> None:
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        result = await run_load("127.0.0.1", server.sockets[0].getsockname()[1], 5.0, 3)
    assert result == LoadResult(0, 0.0, 0.0, 0.0, 3)
