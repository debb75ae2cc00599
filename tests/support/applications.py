"""Small applications for tests."""

from __future__ import annotations

from dlibos_node.sockets.api import Connection


class Echo:
    """Sends back what it receives, keeping what does not fit for later; closes when the peer does."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.backlog = bytearray()
        self.ended: list[bool] = []
        self.peer_has_closed = False

    def received(self, data: memoryview) -> None:
        self.backlog += data
        self.sent()

    def sent(self) -> None:
        while self.backlog:
            if not self.connection.send(bytes(self.backlog[:60_000])):
                self.connection.pause()
                return
            del self.backlog[:60_000]
        self.connection.resume()
        if self.peer_has_closed:
            self.connection.close()

    def eof(self) -> None:
        self.peer_has_closed = True
        self.sent()

    def closed(self, reset: bool) -> None:
        self.ended.append(reset)


class EchoServer:
    """Remembers its connections."""

    def __init__(self) -> None:
        self.handlers: list[Echo] = []

    def accept(self, connection: Connection) -> Echo:
        handler = Echo(connection)
        self.handlers.append(handler)
        return handler


class Recorder:
    """An application that does only what the test tells it, and notes every call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.data = bytearray()
        self.connection: Connection | None = None

    def accept(self, connection: Connection) -> Recorder:
        self.connection = connection
        return self

    @property
    def link(self) -> Connection:
        assert self.connection is not None
        return self.connection

    def received(self, data: memoryview) -> None:
        self.data += data
        self.calls.append("received")

    def sent(self) -> None:
        self.calls.append("sent")

    def eof(self) -> None:
        self.calls.append("eof")

    def closed(self, reset: bool) -> None:
        self.calls.append("reset" if reset else "closed")
