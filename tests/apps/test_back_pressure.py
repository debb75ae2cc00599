"""Slow clients, a mesh without room, and clients that do nothing: memory and time are bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.routes import PAGE
from dlibos_node.apps.web.server import WebServer
from dlibos_node.apps.web.statistics import Refusal
from tests.apps.exchange import NOW, answers, serve
from tests.apps.fake import FakeConnection, FakeTimers

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = os.urandom(3_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "large.bin").write_bytes(LARGE)
    return tmp_path


def download(target: str = "/large.bin") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


@pytest.mark.parametrize("step", [1, 1000, 65536, 400_000])
def test_a_download_keeps_within_the_window(root: Path, step: int) -> None:
    connection = FakeConnection()
    handler = serve(root).accept(connection)
    handler.received(memoryview(download()))
    assert connection.paused
    while connection.unacknowledged:
        connection.acknowledge(step if step > 1 else limits.LOW_WATER, handler)
    assert answers(connection.sent)[0].body == LARGE
    assert connection.highest <= limits.WINDOW + limits.SEND
    assert not connection.paused


def test_the_next_request_waits_for_the_download(root: Path) -> None:
    connection = FakeConnection()
    handler = serve(root).accept(connection)
    handler.received(memoryview(download() + GET + download() + GET))
    while connection.unacknowledged:
        connection.acknowledge(300_000, handler)
    assert [answer.body for answer in answers(connection.sent)] == [LARGE, PAGE, LARGE, PAGE]
    assert not connection.paused


def test_eof_behind_a_download_waits_for_it(root: Path) -> None:
    connection = FakeConnection()
    handler = serve(root).accept(connection)
    handler.received(memoryview(download() + GET))
    handler.eof()
    assert not connection.closing
    while connection.unacknowledged:
        connection.acknowledge(300_000, handler)
    assert [answer.body for answer in answers(connection.sent)] == [LARGE, PAGE]
    assert connection.closing


def test_eof_overtaking_data_that_waits_ends_nothing_early(root: Path) -> None:
    connection = FakeConnection()
    connection.handler = handler = serve(root).accept(connection)
    for data in (download(), GET, download(), GET[:20], GET[20:] + GET):
        connection.deliver(data)
    handler.eof()
    while connection.unacknowledged:
        connection.acknowledge(300_000, handler)
    assert [answer.body for answer in answers(connection.sent)] == [LARGE, PAGE, LARGE, PAGE, PAGE]
    assert connection.closing


def test_events_behind_an_abort_do_nothing(root: Path) -> None:
    server = serve(root)
    connection = FakeConnection()
    handler = server.accept(connection)
    handler.received(memoryview(download()))
    os.truncate(root / "large.bin", 10)
    while not connection.aborted:
        connection.acknowledge(1 << 30, handler)
    before = len(connection.sent)
    handler.received(memoryview(GET))
    handler.sent()
    handler.eof()
    handler.closed(reset=True)
    handler.sent()
    assert (len(connection.sent), connection.closing) == (before, False)


def test_close_asked_for_with_a_download(root: Path) -> None:
    connection = FakeConnection()
    handler = serve(root).accept(connection)
    handler.received(memoryview(b"GET /large.bin HTTP/1.0\r\n\r\n"))
    while connection.unacknowledged:
        connection.acknowledge(300_000, handler)
    assert answers(connection.sent)[0].body == LARGE
    assert connection.closing
    assert not connection.paused


@pytest.mark.parametrize("room", [400, 5000, 70_000])
def test_a_mesh_without_room(root: Path, room: int) -> None:
    connection = FakeConnection(room)
    handler = serve(root).accept(connection)
    handler.received(memoryview(GET + download() + GET + b"BREW / HTTP/1.1\r\n\r\n"))
    rounds = 0
    while connection.unacknowledged and rounds < 100_000:
        connection.acknowledge(1 << 30, handler)
        rounds += 1
    assert [answer.status for answer in answers(connection.sent)] == [200, 200, 200, 501]
    assert answers(connection.sent)[1].body == LARGE
    assert connection.closing


def test_a_refused_send_is_tried_again_and_nothing_is_parsed_meanwhile() -> None:
    server = serve()
    connection = FakeConnection(room=0)
    handler = server.accept(connection)
    handler.received(memoryview(GET))
    handler.sent()
    assert connection.paused
    assert not connection.sent
    connection.room = 10_000
    handler.sent()
    assert answers(connection.sent)[0].body == PAGE
    assert not connection.paused


def test_a_client_that_never_reads_is_no_longer_read() -> None:
    server = serve()
    connection = FakeConnection()
    handler = server.accept(connection)
    reads = 0
    while not connection.paused:
        handler.received(memoryview(GET * 100))
        reads += 1
        assert reads < 1000
    assert connection.highest <= limits.WINDOW + 2 * limits.SEND
    while connection.unacknowledged:
        connection.acknowledge(1 << 20, handler)
    assert len(answers(connection.sent)) == 100 * reads == server.statistics.requests


def test_one_read_of_many_requests_is_answered_within_the_window() -> None:
    connection = FakeConnection()
    handler = serve().accept(connection)
    handler.received(memoryview(GET * 10_000))
    assert connection.highest <= limits.WINDOW + 2 * limits.SEND
    while connection.unacknowledged:
        connection.acknowledge(1 << 20, handler)
    assert len(answers(connection.sent)) == 10_000
    assert connection.highest <= limits.WINDOW + 2 * limits.SEND


@pytest.mark.parametrize("chunked", [False, True])
def test_an_echo_of_any_size(chunked: bool) -> None:
    connection = FakeConnection()
    handler = serve().accept(connection)
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(LARGE)
    handler.received(memoryview(b"POST /echo HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n"))
    pieces = [LARGE[at : at + 50_000] for at in range(0, len(LARGE), 50_000)]
    for piece in [*pieces, b""] if chunked else pieces:
        while connection.paused:
            connection.acknowledge(100_000, handler)
        handler.received(memoryview(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece))
    assert answers(connection.sent)[0].body == LARGE
    assert limits.WINDOW < connection.highest <= limits.WINDOW + 2 * limits.SEND


def test_a_file_that_becomes_shorter_ends_the_connection(root: Path) -> None:
    server = serve(root)
    connection = FakeConnection()
    handler = server.accept(connection)
    handler.received(memoryview(download() + GET))
    os.truncate(root / "large.bin", 2_000_000)
    while connection.unacknowledged and not connection.aborted:
        connection.acknowledge(1 << 30, handler)
    assert connection.aborted
    assert LARGE[:2_000_000] in connection.sent
    handler.closed(reset=True)
    assert server.statistics.open == 0


def test_a_connection_lost_in_a_download_releases_the_file(root: Path) -> None:
    server = serve(root)
    before = len(list(Path("/proc/self/fd").iterdir()))
    handlers = [server.accept(FakeConnection()) for _ in range(10)]
    for handler in handlers:
        handler.received(memoryview(download()))
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    for handler in handlers:
        handler.closed(reset=True)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert server.statistics.open == 0


class Timed:
    """A server, its clock, and one connection."""

    def __init__(self) -> None:
        self.timers = FakeTimers()
        self.server = WebServer(None, self.timers, lambda: NOW)
        self.connection = FakeConnection()
        self.handler = self.server.accept(self.connection)

    def receive(self, data: bytes) -> None:
        self.handler.received(memoryview(data))


IDLE = limits.TICK * limits.IDLE_TICKS


def test_an_idle_connection_is_closed() -> None:
    timed = Timed()
    timed.receive(GET)
    timed.connection.acknowledge(1 << 20, timed.handler)
    timed.timers.advance(IDLE - limits.TICK)
    assert timed.server.statistics.timeouts == 0
    timed.timers.advance(limits.TICK)
    assert timed.connection.closing
    assert timed.server.statistics.timeouts == 1


def test_a_connection_in_use_is_not_closed() -> None:
    timed = Timed()
    for _ in range(10):
        timed.timers.advance(IDLE - limits.TICK)
        timed.receive(GET)
        timed.connection.acknowledge(1 << 20, timed.handler)
    assert not timed.connection.closing


def test_a_head_that_drips_gets_408() -> None:
    timed = Timed()
    for _ in range(limits.HEAD_TICKS):
        assert not timed.connection.closing
        timed.receive(b"G")
        timed.timers.advance(limits.TICK)
    assert [answer.status for answer in answers(timed.connection.sent)] == [408]
    assert timed.connection.closing
    assert timed.server.statistics.refusals[Refusal.TIMEOUT] == 1


def test_a_body_that_stops_ends_the_connection() -> None:
    timed = Timed()
    timed.receive(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    timed.timers.advance(IDLE)
    assert timed.connection.aborted


def test_a_client_that_never_acknowledges_is_dropped() -> None:
    timed = Timed()
    timed.receive(GET)
    timed.timers.advance(IDLE)
    assert timed.connection.aborted


def test_a_client_that_does_not_close_after_us_is_dropped() -> None:
    timed = Timed()
    timed.receive(b"GET / HTTP/1.0\r\n\r\n")
    timed.connection.acknowledge(1 << 20, timed.handler)
    assert timed.connection.closing
    for _ in range(limits.IDLE_TICKS):
        timed.receive(b"more")
        timed.timers.advance(limits.TICK)
    assert timed.connection.aborted


def test_no_timer_runs_without_connections() -> None:
    timed = Timed()
    assert len(timed.timers.waiting) == 1
    timed.handler.closed(reset=False)
    timed.timers.advance(limits.TICK)
    assert not timed.timers.waiting


def test_statistics() -> None:
    timed = Timed()
    data = GET * 2 + b"GET /no HTTP/1.1\r\nHost: a\r\n\r\n" + b"BREW / HTTP/1.1\r\n\r\n"
    timed.receive(data)
    statistics = timed.server.statistics
    assert (statistics.accepted, statistics.open, statistics.requests) == (1, 1, 3)
    assert statistics.responses == [0, 0, 2, 0, 1, 1]
    assert statistics.refusals[Refusal.METHOD] == sum(statistics.refusals.values()) == 1
    assert (statistics.bytes_received, statistics.bytes_sent) == (len(data), len(timed.connection.sent))
