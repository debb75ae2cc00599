"""What is read from wrk, the witness and the kernel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dlibos_orchestrator.bench import crowd, witness
from dlibos_orchestrator.bench.crowd import Account
from dlibos_orchestrator.errors import MeshStateError

WRK = """Running 60m test @ http://10.77.0.2/
  1 threads and 200 connections
  52345 requests in 12.01s, 9.99MB read
  Socket errors: connect 1, read 2, write 0, timeout 3
  Non-2xx or 3xx responses: 4
Requests/sec:  4358.45
"""
SNMP = """Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm ActiveOpens AttemptFails EstabResets
Tcp: 1 10 2 3
"""
PAGE = b"the page"


def test_every_kind_of_error_of_wrk_counts() -> None:
    assert crowd.parse(WRK) == crowd.Load(requests=52345, per_second=4358.45, errors=10)


def test_a_wrk_that_says_nothing_is_an_error() -> None:
    with pytest.raises(MeshStateError, match="unable to connect"):
        crowd.parse("unable to connect to 10.77.0.2:http")


def test_the_kernels_counters_are_found_by_name() -> None:
    counts = crowd._snmp(SNMP)
    assert (counts["AttemptFails"], counts["EstabResets"]) == (2, 3)


@asynccontextmanager
async def server(monkeypatch: pytest.MonkeyPatch, answers: list[bytes | None]) -> AsyncIterator[None]:
    """Serve the page; of the first connections one each gets what is in `answers`, None: it is reset."""

    open_ends: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ends.append(writer)
        body = answers.pop(0) if answers else PAGE
        while await reader.readline():
            if body is None:
                writer.transport.abort()
                return
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    monkeypatch.setattr(witness, "PORT", listening.sockets[0].getsockname()[1])
    async with listening:
        yield
        for end in open_ends:
            end.close()
        await asyncio.gather(*(end.wait_closed() for end in open_ends), return_exceptions=True)
        await asyncio.sleep(0.01)  # the clients' ends are closed by the loop, too


async def test_the_witness_compares_pages_and_counts_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(monkeypatch, [PAGE, None, b"another", PAGE]):
        seen = witness.Witness("127.0.0.1")
        await seen.prepare()
        for _ in range(3):
            await seen._newcomer()
    account = Account(**json.loads(seen.account.as_json()))
    assert (account.refused, account.wrong, account.requests, account.timeouts) == (1, 1, 2, 0)
    assert account.failures == 2
    assert account.back is not None


async def test_a_kept_connection_that_is_lost_is_counted_and_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(monkeypatch, [PAGE, None]):
        seen = witness.Witness("127.0.0.1")
        await seen.prepare()
        keeping = asyncio.create_task(seen.keep())
        while seen.account.requests < 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert seen.account.resets == 1


def test_who_came_before_the_mark_does_not_tell_that_service_is_back() -> None:
    account = witness.Account()
    account.newcomer(account.began - 1.0)
    assert account.back is None
    account.newcomer(account.began)
    assert account.back is not None
