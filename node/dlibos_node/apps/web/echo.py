"""Resources that read a body of any size as it comes: /echo gives it back, /sink says how long it was."""

from __future__ import annotations

import hashlib
from typing import Final, Protocol

from dlibos_node.apps.web.request import Request
from dlibos_node.apps.web.response import DateClock, Reply, head, render

# Whatever the client sent, no browser may take the answer for a page of this site.
_ECHO_FIELDS: Final = b"Content-Type: application/octet-stream\r\nX-Content-Type-Options: nosniff\r\n"


class BodyReader(Protocol):
    """One request whose body a resource reads. What the methods return is sent."""

    @property
    def started(self) -> bool:
        """The head of the answer is out, so that an error can no longer be answered."""

    def piece(self, data: bytes) -> bytes:
        """Take the next bytes of the body, at least one."""

    def end(self) -> bytes:
        """Take the end of the body."""


class Echo:
    """The body comes back in the framing it was sent in: by length where the length was given, chunked otherwise.

    The answer starts with the first data, so that a body whose framing is broken from the start gets its 400.
    """

    __slots__ = ("_chunked", "_clock", "_request", "started")

    def __init__(self, request: Request, clock: DateClock) -> None:
        self._request: Final = request
        self._clock: Final = clock
        self._chunked: Final = request.length is None
        self.started = False

    def piece(self, data: bytes) -> bytes:
        """Give the data back."""
        framed = b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data
        return framed if self.started else self._start() + framed

    def end(self) -> bytes:
        """Give back the last chunk, or the head alone of an empty body."""
        last = b"0\r\n\r\n" if self._chunked else b""
        return last if self.started else self._start() + last

    def _start(self) -> bytes:
        self.started = True
        length = self._request.length
        framing = b"Transfer-Encoding: chunked\r\n" if length is None else b"Content-Length: %d\r\n" % length
        return head(200, self._clock.field(), _ECHO_FIELDS + framing, self._request.persistence)


class Sink:
    """The answer is JSON: the bytes of the body and their SHA-256."""

    __slots__ = ("_clock", "_count", "_request", "_sha256", "started")

    def __init__(self, request: Request, clock: DateClock) -> None:
        self._request: Final = request
        self._clock: Final = clock
        self._sha256: Final = hashlib.sha256()
        self._count = 0
        self.started = False

    def piece(self, data: bytes) -> bytes:
        """Count and hash."""
        self._count += len(data)
        self._sha256.update(data)
        return b""

    def end(self) -> bytes:
        """Answer."""
        body = b'{"bytes": %d, "sha256": "%s"}\n' % (self._count, self._sha256.hexdigest().encode())
        reply = Reply(200, b"Content-Type: application/json\r\n", body)
        return render(reply, self._request, self._clock.field())
