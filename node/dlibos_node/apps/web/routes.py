"""Which resource answers: /echo, /sink, the files below the root, and the built-in page where there is no other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.conditions import precondition, requested_range
from dlibos_node.apps.web.echo import BodyReader, Echo, Sink
from dlibos_node.apps.web.files import FileStore, Signature, StaticFile, examine, signature
from dlibos_node.apps.web.request import Request
from dlibos_node.apps.web.response import DateClock, Reply, plain, render

# 128 bytes, the page that benchmarks of small answers ask for.
PAGE: Final = (
    b"<!doctype html><html lang=en><title>DLibOS</title>"
    b"<h1>DLibOS</h1><p>From driver to stack to app tile, and all the way back.</p>\n"
)
_PAGE_FIELDS: Final = b"Content-Type: text/html; charset=utf-8\r\n"
_READERS: Final[dict[str, Callable[[Request, DateClock], BodyReader]]] = {"/echo": Echo, "/sink": Sink}
_ALLOW_READER: Final = b"Allow: POST, PUT, OPTIONS\r\n"
_ALLOW_FILE: Final = b"Allow: GET, HEAD, OPTIONS\r\n"


class Prepared:
    """A complete answer to a request, kept with it while the Date in it and the file behind it are current.

    A stat costs as much as all else that is done for such a request, and under load a batch of them comes at once: one
    look is good for `limits.FRESH`.
    """

    __slots__ = ("_now", "_path", "_second", "_seen", "_signature", "data")

    def __init__(self, data: bytes, clock: DateClock, file: StaticFile | None) -> None:
        self.data: Final = data
        self._now: Final = clock.now
        self._seen = 0.0  # when this was last found current
        self._second: Final = clock.second()
        self._path: Final = None if file is None else file.path
        self._signature: Final[Signature | None] = None if file is None else file.signature

    def current(self) -> bool:
        """Tell whether the same request would get the same bytes now, or would have within `limits.FRESH`."""
        now = self._now()
        if 0 <= now - self._seen < limits.FRESH:
            return True
        if self._second != int(now) or not self._unchanged():
            return False
        self._seen = now
        return True

    def _unchanged(self) -> bool:
        if self._path is None:
            return True
        try:
            return signature(examine(self._path)) == self._signature
        except OSError:
            return False


class Routes:
    """The resources of one server."""

    __slots__ = ("_clock", "_files")

    def __init__(self, root: Path | None, clock: DateClock) -> None:
        self._clock: Final = clock
        self._files: Final = None if root is None else FileStore(root)

    def reader(self, request: Request) -> BodyReader | None:
        """Return who reads the body of this request as it comes; None when nobody does."""
        if request.method not in {"POST", "PUT"}:
            return None
        make = _READERS.get(request.path or "")
        return None if make is None else make(request, self._clock)

    def answer(self, request: Request) -> Reply:
        """Answer a request whose body, if it had one, nobody reads. The caller releases the file of the reply."""
        if request.method == "OPTIONS":
            return self._options(request)
        if request.path is None:
            return plain(400)
        if request.path in _READERS:
            return plain(405, _ALLOW_READER)
        if request.method not in {"GET", "HEAD"}:
            return plain(405, _ALLOW_FILE)
        return self._get(request, request.path)

    def render(self, reply: Reply, request: Request, *, last: bool) -> bytes:
        """Build the answer and, where the same request would get it again, keep it with the request."""
        data = render(reply, request, self._clock.field(), last=last)
        if reply.status == 200 and not last and request.keep_alive and request.length == 0 and self._lasting(reply):
            request.prepared = Prepared(data, self._clock, reply.file)
        return data

    def release(self, file: StaticFile) -> None:
        """End the use of a reply's file."""
        if self._files is not None:
            self._files.release(file)

    def _lasting(self, reply: Reply) -> bool:
        # The page stands in for a file that may yet appear, unless there is no root.
        return self._files is None if reply.file is None else reply.file.content is not None

    def _options(self, request: Request) -> Reply:
        if request.target == b"*":
            return Reply(204, b"Allow: GET, HEAD, POST, PUT, OPTIONS\r\n")
        if request.path is None:
            return plain(400)
        return Reply(204, _ALLOW_READER if request.path in _READERS else _ALLOW_FILE)

    def _get(self, request: Request, path: str) -> Reply:
        found = 404 if self._files is None else self._files.acquire(path)
        if isinstance(found, StaticFile):
            return _file_reply(request, found)
        if found == 404 and path == "/":
            return Reply(200, _PAGE_FIELDS, PAGE)
        if found == 301:
            return plain(301, b"Location: %s/\r\n" % quote(os.fsencode(path)).encode())
        return plain(found)


def _file_reply(request: Request, file: StaticFile) -> Reply:
    status = precondition(request, file)
    if status is not None:
        reply = Reply(304, file.fields) if status == 304 else plain(status)
    else:
        reply = _ranged(request, file)
    reply.file = file
    return reply


def _ranged(request: Request, file: StaticFile) -> Reply:
    part = requested_range(request, file)
    if part is None:
        return _slice(Reply(200, file.fields), file, 0, file.size)
    start, count = part
    if count == 0:
        return plain(416, b"Content-Range: bytes */%d\r\n" % file.size)
    span = b"Content-Range: bytes %d-%d/%d\r\n" % (start, start + count - 1, file.size)
    return _slice(Reply(206, file.fields + span), file, start, count)


def _slice(reply: Reply, file: StaticFile, start: int, count: int) -> Reply:
    reply.start = start
    reply.length = count
    if file.content is not None:
        reply.body = file.content[start : start + count]
    return reply
