"""Answers as bytes: status line, Server, Date, and what a resource adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from dlibos_node.apps.web.files import StaticFile
from dlibos_node.apps.web.request import CLOSE, Request

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\nServer: dlibos\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}
_BODILESS: Final = (204, 304)


class Reply:
    """An answer that is known when the request is: the body in memory, or a slice of a file."""

    __slots__ = ("body", "fields", "file", "length", "start", "status")

    def __init__(self, status: int, fields: bytes, body: bytes = b"") -> None:
        self.status: Final = status
        self.fields: Final = fields
        """Complete field lines, each with its CRLF."""
        self.body = body
        self.length = len(body)
        """Content-Length, whether or not the body is sent (HEAD)."""
        self.file: StaticFile | None = None
        """Set: send bytes [start, start + length) of this file behind `body`, then release it."""
        self.start = 0


class DateClock:
    """Wall-clock seconds, and the Date field of the current one (RFC 9110 section 6.6.1)."""

    __slots__ = ("_field", "_second", "now")

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now: Final = now
        self._second = -1
        self._field = b""

    def second(self) -> int:
        """Seconds since the epoch."""
        return int(self.now())

    def field(self) -> bytes:
        """Return the Date field line; formatted once per second."""
        second = self.second()
        if second != self._second:
            self._second = second
            self._field = b"Date: %s\r\n" % formatdate(second, usegmt=True).encode()
        return self._field


def head(status: int, date: bytes, fields: bytes, persistence: bytes) -> bytes:
    """Build a head, the empty line included."""
    return b"%s%s%s%s\r\n" % (_STATUS_LINES[status], date, fields, persistence)


def render(reply: Reply, request: Request, date: bytes, *, last: bool = False) -> bytes:
    """Build the answer to `request`, without what comes from a file; `last` closes whatever the client asked for."""
    fields = reply.fields
    if reply.status not in _BODILESS:
        fields += b"Content-Length: %d\r\n" % reply.length
    answer = head(reply.status, date, fields, CLOSE if last else request.persistence)
    return answer if request.method == "HEAD" else answer + reply.body


def plain(status: int, fields: bytes = b"") -> Reply:
    """Answer with the status and its phrase as text."""
    body = b"%d %s\n" % (status, HTTPStatus(status).phrase.encode())
    return Reply(status, b"Content-Type: text/plain; charset=utf-8\r\n" + fields, body)


def closing(status: int, date: bytes, *, bodiless: bool = False) -> bytes:
    """Build the answer to a request that could not be understood; the connection ends with it."""
    reply = plain(status)
    answer = head(status, date, reply.fields + b"Content-Length: %d\r\n" % reply.length, CLOSE)
    return answer if bodiless else answer + reply.body
