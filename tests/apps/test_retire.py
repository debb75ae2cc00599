"""A web server that is to end parts with its connections between two requests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.connection import WebConnection
from dlibos_node.apps.web.server import WebServer
from tests.apps.exchange import NOW, answers
from tests.apps.fake import FakeConnection, FakeTimers

GET = b"GET / HTTP/1.1\r\nHost: mesh\r\n\r\n"


class Retiring:
    """A server with one connection."""

    def __init__(self) -> None:
        self.timers = FakeTimers()
        self.server = WebServer(None, self.timers, lambda: NOW)
        self.connection = FakeConnection()
        handler = self.server.accept(self.connection)
        assert isinstance(handler, WebConnection)
        self.handler = handler

    def say(self, words: bytes) -> None:
        self.handler.received(memoryview(words))

    def acknowledge(self) -> None:
        self.connection.acknowledge(1 << 30, self.handler)

    def is_asked(self) -> bool:
        return self.connection.kept is not None

    def is_closing(self) -> bool:
        return self.connection.closing

    def keep(self, *, alone: bool) -> None:
        """No other tile takes it."""
        kept: Callable[[bool], None] | None = self.connection.kept
        assert kept is not None
        self.connection.kept = None
        kept(alone)


@pytest.fixture
def web() -> Retiring:
    return Retiring()


def test_nothing_is_handed_over_before(web: Retiring) -> None:
    web.say(GET)
    web.acknowledge()
    assert not web.is_asked()


def test_an_idle_connection_at_once(web: Retiring) -> None:
    web.server.retire()
    assert web.is_asked()


def test_a_new_one_at_once(web: Retiring) -> None:
    web.server.retire()
    late = FakeConnection()
    web.server.accept(late)
    assert late.kept is not None


@pytest.mark.parametrize("first", [b"GET / HT", b"POST /echo HTTP/1.1\r\nHost: m\r\nContent-Length: 4\r\n\r\nab"])
def test_a_request_under_way_is_finished_first(web: Retiring, first: bytes) -> None:
    rest = {b"G": b"TP/1.1\r\nHost: mesh\r\n\r\n", b"P": b"cd"}[first[:1]]
    web.say(first)
    web.server.retire()
    assert not web.is_asked()
    web.say(rest)
    assert web.is_asked()
    assert [answer.status for answer in answers(web.connection.sent, ["GET" if first[:1] == b"G" else "POST"])] == [200]


def test_one_whose_answer_has_no_room_yet_afterwards(web: Retiring) -> None:
    web.connection.room = 0
    web.say(GET)
    web.server.retire()
    assert not web.is_asked()
    web.connection.room = 1 << 20
    web.acknowledge()
    assert web.is_asked()


def test_where_nobody_else_serves_the_next_answer_is_the_last(web: Retiring) -> None:
    web.say(GET)
    web.server.retire()
    web.keep(alone=True)
    web.say(GET)
    first, last = answers(web.connection.sent)
    assert first.headers["Connection"] is None
    assert last.headers["Connection"] == "close"
    assert first.body == last.body
    assert web.connection.closing
    assert not web.is_asked()


def test_the_last_answer_is_not_remembered_for_others(web: Retiring) -> None:
    web.server.retire()
    web.keep(alone=True)
    web.say(GET)
    other = FakeConnection()
    web.server.accept(other).received(memoryview(GET))
    assert answers(other.sent)[0].headers["Connection"] is None


def test_where_nobody_else_serves_an_idle_one_is_closed_in_the_end(web: Retiring) -> None:
    web.server.retire()
    web.keep(alone=True)
    web.timers.advance(limits.TICK * (limits.RETIRING_TICKS - 1))
    assert not web.is_closing()
    web.timers.advance(limits.TICK)
    assert web.is_closing()
    assert web.connection.sent == b""


def test_one_that_is_about_to_end_is_left_alone(web: Retiring) -> None:
    web.server.retire()
    web.keep(alone=False)
    web.handler.eof()
    assert web.connection.closing
    assert not web.is_asked()
