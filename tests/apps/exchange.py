"""Drives a web server over fake connections and reads its answers with the standard library's client."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from http.client import HTTPMessage, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any

from dlibos_node.apps.web.server import WebServer
from tests.apps.fake import FakeConnection, FakeTimers

NOW = 784111777.0
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


class _Unclosed(io.BytesIO):
    def close(self) -> None:
        """Leave what follows for the next answer."""


class _Socket:
    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream

    def makefile(self, *_: Any) -> io.BytesIO:
        return self._stream


class Answer:
    """One final response."""

    def __init__(self, status: int, headers: HTTPMessage, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def serve(root: Path | None = None) -> WebServer:
    return WebServer(root, FakeTimers(), lambda: NOW)


def drive(server: WebServer, parts: Iterable[bytes], *, eof: bool = False) -> FakeConnection:
    """Feed `parts` one read each, acknowledging everything at once."""
    connection = FakeConnection()
    handler = server.accept(connection)
    for part in parts:
        buffer = bytearray(part)
        handler.received(memoryview(buffer).toreadonly())
        buffer[:] = bytes(len(buffer))  # the view is valid only during the call
        while connection.unacknowledged:
            connection.acknowledge(1 << 30, handler)
    if eof:
        handler.eof()
    return connection


def answers(sent: bytes | bytearray, methods: Sequence[str] = ()) -> list[Answer]:
    """Split what a server sent; `methods` are those of the requests, GET where they end."""
    stream = _Unclosed(bytes(sent))
    found: list[Answer] = []
    while stream.tell() < len(sent):
        method = methods[len(found)] if len(found) < len(methods) else "GET"
        response = HTTPResponse(_Socket(stream), method=method)  # type: ignore[arg-type]  # it only calls makefile
        response.begin()
        try:
            body = response.read()
        except IncompleteRead as cut:
            body = cut.partial
        found.append(Answer(response.status, response.headers, body))
    return found


def each_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]
