"""The answers of one connection on their way out: bytes in batches, large files without a copy."""

from __future__ import annotations

from typing import Final

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.response import Reply
from dlibos_node.apps.web.service import Service
from dlibos_node.sockets.api import Connection


class Output:
    """What is to be sent, in order: `write` collects, `push` sends as much as the mesh takes."""

    __slots__ = ("_batch", "_connection", "_pending", "_reply", "_service", "queued")

    def __init__(self, connection: Connection, service: Service) -> None:
        self._connection: Final = connection
        self._service: Final = service
        self._batch: Final[list[bytes]] = []
        self._pending = b""  # refused by `send`
        self._reply: Reply | None = None
        self.queued = 0
        """Bytes written since the last `push`."""

    @property
    def streams(self) -> bool:
        """A file is being sent: nothing may be written until it is out."""
        return self._reply is not None

    @property
    def refused(self) -> bool:
        """The mesh had no room."""
        return bool(self._pending)

    def write(self, data: bytes) -> None:
        """Send `data` at the next `push`, in one piece with what else was written."""
        self._batch.append(data)
        self.queued += len(data)

    def send(self, data: bytes) -> bool:
        """Send `data` by itself, at once if the mesh has room; False as `push`. Nothing else may be waiting."""
        if self._connection.send(data):
            self._service.statistics.bytes_sent += len(data)
            return True
        self._pending = data
        return False

    def stream(self, reply: Reply) -> None:
        """Send the file slice of `reply` behind what was written, then release the file."""
        self._reply = reply

    def push(self) -> bool:
        """Send; False while something is left, which waits for `Handler.sent`.

        Raises OSError when the file cannot be read to the length that was promised.
        """
        if self._batch:
            batch, self._batch[:] = b"".join(self._batch), ()
            self.queued = 0
            self._pending = self._pending + batch if self._pending else batch
        if self._pending and not self._send():
            return False
        return self._reply is None or self._send_file(self._reply)

    def drop(self) -> None:
        """Forget everything and release the file."""
        self._batch.clear()
        self._pending = b""
        reply, self._reply = self._reply, None
        if reply is not None and reply.file is not None:
            self._service.routes.release(reply.file)

    def _send(self) -> bool:
        send, left = self._connection.send, self._pending
        while left:
            piece = left if len(left) <= limits.SEND else left[: limits.SEND]
            count = len(piece) if send(piece) else self._send_part(piece)
            if not count:
                self._pending = left
                return False
            self._service.statistics.bytes_sent += count
            left = left[count:]
        self._pending = b""
        return True

    def _send_part(self, data: bytes) -> int:
        # A crowded partition may never have room for a large piece at once, but for a part of it.
        buffer = self._connection.allocate(len(data))
        if buffer is None:
            return 0
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        self._connection.commit(count)
        return count

    def _send_file(self, reply: Reply) -> bool:
        while reply.length:
            if self._connection.unacknowledged >= limits.WINDOW:
                return False
            buffer = self._connection.allocate(min(limits.SEND, reply.length))
            if buffer is None:
                return False
            count = self._fill(reply, buffer)
            self._connection.commit(count)
            if count == 0:
                raise OSError("the file has become shorter while it was sent")
            self._service.statistics.bytes_sent += count
            reply.start += count
            reply.length -= count
        self.drop()
        return True

    def _fill(self, reply: Reply, buffer: memoryview) -> int:
        try:
            return 0 if reply.file is None else reply.file.read_into(buffer[: reply.length], reply.start)
        except OSError:
            return 0  # the reservation must be given back either way
