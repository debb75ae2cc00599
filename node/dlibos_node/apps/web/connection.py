"""One client's connection: bytes in, requests one after the other, answers in their order.

    received ─► stage: BETWEEN ─► HEAD ─► SIZED or CHUNKED ─► BETWEEN ...          CLOSING: input is discarded; GONE
                          `──── a bodiless request ────'
    answers ─► output: one batch per read ─► send;  a large file ─► allocate, preadv, commit

While an answer waits for room, a file is being sent, or the client has not acknowledged `limits.WINDOW` bytes, the
connection is held: it is paused, nothing more is parsed, and what was received but not parsed lies in `_backlog` (the
rest of one read). `sent` lets it go on. So a client that never reads costs a bounded amount of memory.
"""

from __future__ import annotations

from typing import Final

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.echo import BodyReader
from dlibos_node.apps.web.framing import END, ChunkCutter, HeadBuffer
from dlibos_node.apps.web.output import Output
from dlibos_node.apps.web.request import Request, RequestParser
from dlibos_node.apps.web.response import CONTINUE, closing
from dlibos_node.apps.web.service import Service
from dlibos_node.apps.web.statistics import Refusal
from dlibos_node.sockets.api import Connection

BETWEEN: Final = 0
HEAD: Final = 1
SIZED: Final = 2
CHUNKED: Final = 3
CLOSING: Final = 4
GONE: Final = 5


class WebConnection:
    """The handler of one connection."""

    __slots__ = (
        "_alone",
        "_backlog",
        "_connection",
        "_cutter",
        "_eof",
        "_finished",
        "_head",
        "_head_ticks",
        "_held",
        "_idle_ticks",
        "_output",
        "_parser",
        "_reader",
        "_request",
        "_service",
        "_spent",
        "_stage",
        "_unread",
    )

    def __init__(self, connection: Connection, service: Service) -> None:
        self._connection: Final = connection
        self._service: Final = service
        self._stage = BETWEEN
        self._held = self._eof = self._finished = False
        self._alone = False  # the server is to end, and no other tile can have the connection
        self._idle_ticks = self._head_ticks = 0
        self._head: Final = HeadBuffer()
        self._parser: RequestParser | None = None
        self._cutter: Final = ChunkCutter()
        self._request: Request | None = None
        self._reader: BodyReader | None = None
        self._unread = 0  # SIZED: bytes of the body still to come
        self._spent = 0  # bytes of a discarded body, or of chunk framing since the last data
        self._output: Final = Output(connection, service)
        self._backlog = b""

    def received(self, data: memoryview) -> None:
        """Parse and answer; see `sockets.api.Handler`."""
        raw = bytes(data)
        service = self._service
        service.statistics.bytes_received += len(raw)
        if self._stage == BETWEEN and not self._held and len(raw) <= limits.KNOWN_HEAD and not self._alone:
            request = service.known.find(raw)
            if request is not None and request.prepared is not None and request.prepared.current():
                self._idle_ticks = 0
                service.statistics.requests += 1
                service.statistics.responses[2] += 1
                # Nothing waits to be sent before it, or the connection would be held.
                if not self._output.send(request.prepared.data) or self._connection.unacknowledged > limits.WINDOW:
                    self._hold()
                elif service.retiring:
                    self.part()
                return
        if self._stage >= CLOSING:
            return
        self._idle_ticks = 0
        if self._held:
            self._backlog += raw
        else:
            self._advance(raw)
            if service.retiring:
                self.part()

    def sent(self) -> None:
        """Go on where the connection was held."""
        self._idle_ticks = 0
        if not self._held or (self._connection.unacknowledged > limits.LOW_WATER and not self._output.refused):
            return
        self._held = False
        self._push()
        backlog, self._backlog = self._backlog, b""
        if backlog and not self._held:
            self._advance(backlog)
        else:
            self._backlog = backlog
        if self._held or self._stage == GONE:
            return
        self._connection.resume()
        # What waited is delivered within `resume`, and the end of input lies behind it.
        if self._eof and not self._held:
            self._end_of_input()
        if self._service.retiring:
            self.part()

    def part(self) -> None:
        """In a server that is to end: let another tile have the connection if no request is under way.

        Where nobody can, the next answer says that it is the last (RFC 9112 section 9.6).
        """
        if self._stage == BETWEEN and not (self._held or self._eof or self._alone):
            self._connection.hand_over(self._kept)

    def _kept(self, alone: bool) -> None:
        self._alone = alone

    def eof(self) -> None:
        """Answer what is complete, then close."""
        self._eof = True
        if not self._held:
            self._end_of_input()

    def closed(self, reset: bool) -> None:
        """Give back what the connection holds."""
        self._stage = GONE
        self._backlog = b""
        self._output.drop()
        self._parser = None  # it refers to the parser's callbacks and they to it
        self._request = self._reader = None
        self._service.connections.discard(self)
        self._service.statistics.open -= 1

    def tick(self) -> None:
        """Look for a client that holds the connection without using it; called every `limits.TICK` seconds."""
        self._idle_ticks += 1
        self._head_ticks = self._head_ticks + 1 if self._stage == HEAD else 0
        if self._head_ticks >= limits.HEAD_TICKS:
            self._refuse(Refusal.TIMEOUT)
            self._push()
        elif self._idle_ticks >= limits.IDLE_TICKS:
            self._service.statistics.timeouts += 1
            self._expire()
        elif self._alone and self._idle_ticks >= limits.RETIRING_TICKS and self._unused:
            self._expire()

    @property
    def _unused(self) -> bool:
        """No request is under way, and the client has all answers."""
        return self._stage == BETWEEN and not self._held and not self._connection.unacknowledged

    def _expire(self) -> None:
        self._idle_ticks = 0
        if self._unused:
            self._stage = CLOSING
            self._push()
        else:
            self._abort()

    # Input

    def _advance(self, raw: bytes) -> None:
        at, end = 0, len(raw)
        while at < end and not self._held and self._stage < CLOSING:
            at = self._step(raw, at)
            if self._output.queued > limits.SEND or self._output.streams:
                self._push()
        if not self._held:
            self._push()
        self._backlog = b"" if self._stage >= CLOSING else raw[at:]

    def _step(self, raw: bytes, at: int) -> int:
        if self._stage <= HEAD:
            return self._take_head(raw, at)
        return self._take_sized(raw, at) if self._stage == SIZED else self._take_chunked(raw, at)

    def _take_head(self, raw: bytes, at: int) -> int:
        if self._stage == BETWEEN:
            end = raw.find(END, at) + len(END)
            if end >= len(END):
                self._take_whole(raw[at:end])
                return end
        taken, at = self._head.take(raw, at)
        self._taken(taken)
        return at

    def _take_whole(self, head: bytes) -> None:
        known = self._service.known.find(head)
        if known is None:
            self._taken(self._head.take(head, 0)[0])
        else:
            self._service.statistics.requests += 1
            self._answer(known)

    def _taken(self, head: bytes | Refusal | None) -> None:
        if head is None:
            self._stage = HEAD if self._head else BETWEEN
        elif isinstance(head, Refusal):
            self._refuse(head)
        else:
            self._stage = BETWEEN
            self._begin(head)

    def _begin(self, head: bytes) -> None:
        if self._parser is None:
            self._parser = RequestParser()
        request = self._parser.parse(head)
        if isinstance(request, Refusal):
            self._refuse(request, to_head=head.startswith(b"HEAD "))
            return
        self._service.statistics.requests += 1
        if self._parser.complete:
            self._service.known.add(head, request)
            self._answer(request)
        else:
            self._begin_body(request)

    def _begin_body(self, request: Request) -> None:
        self._request = request
        self._reader = self._service.routes.reader(request)
        self._spent = 0
        if self._reader is None and (request.length or 0) > limits.DISCARDED_BODY:
            self._refuse(Refusal.BODY_TOO_LARGE)
            return
        if request.expects_continue:
            if self._reader is None:
                self._answer(request, last=True)  # RFC 9110 section 10.1.1: a final answer instead, and no body wanted
                return
            self._write(CONTINUE)
        self._stage = CHUNKED if request.length is None else SIZED
        self._unread = request.length or 0

    def _take_sized(self, raw: bytes, at: int) -> int:
        end = min(len(raw), at + self._unread)
        self._unread -= end - at
        self._feed(memoryview(raw)[at:end])
        return end

    def _take_chunked(self, raw: bytes, at: int) -> int:
        end = self._cutter.cut(raw, at)
        self._spent += end - at
        self._feed(memoryview(raw)[at:end])
        if self._reader is None and self._spent > limits.DISCARDED_BODY:
            self._refuse(Refusal.BODY_TOO_LARGE)
        elif self._reader is not None and self._spent > limits.FRAMING:
            self._refuse(Refusal.FRAMING)
        return end

    def _feed(self, data: memoryview) -> None:
        parser = self._parser
        if parser is None:
            return
        sound = parser.feed(data)
        body = b"".join(parser.body)
        if body and self._reader is not None:
            self._spent = 0
            self._write(self._reader.piece(body))
        if not sound:
            self._refuse(Refusal.FRAMING)
        elif parser.complete and self._stage < CLOSING:
            self._end_body()

    def _end_body(self) -> None:
        request, reader = self._request, self._reader
        self._request = self._reader = None
        self._stage = BETWEEN
        self._spent = 0
        if request is not None and reader is not None:
            self._end_reader(request, reader)
        elif request is not None:
            self._answer(request)

    def _end_reader(self, request: Request, reader: BodyReader) -> None:
        self._write(reader.end())
        self._service.statistics.responses[2] += 1
        if not request.keep_alive:
            self._stage = CLOSING

    def _end_of_input(self) -> None:
        if self._stage == GONE:
            return
        if self._stage not in {BETWEEN, CLOSING}:
            self._refuse(Refusal.INCOMPLETE)
        self._stage = CLOSING
        self._push()

    # Output

    def _answer(self, request: Request, *, last: bool = False) -> None:
        prepared = request.prepared
        if prepared is not None and not self._alone and prepared.current():
            self._service.statistics.responses[2] += 1
            self._write(prepared.data)
            return
        routes = self._service.routes
        reader = None if last else routes.reader(request)
        if reader is not None:
            self._end_reader(request, reader)
            return
        last = last or self._alone
        reply = routes.answer(request)
        self._service.statistics.responses[reply.status // 100] += 1
        self._write(routes.render(reply, request, last=last))
        if last or not request.keep_alive:
            self._stage = CLOSING
        if reply.file is not None:
            if request.method == "GET" and reply.length > len(reply.body) and reply.status in {200, 206}:
                self._output.stream(reply)
            else:
                routes.release(reply.file)

    def _refuse(self, refusal: Refusal, *, to_head: bool = False) -> None:
        if self._stage >= CLOSING:
            return
        self._service.statistics.refusals[refusal] += 1
        if self._reader is None or not self._reader.started:
            self._service.statistics.responses[refusal.status // 100] += 1
            self._write(closing(refusal.status, self._service.clock.field(), bodiless=to_head))
        # Otherwise the answer is under way and ends short of its length or last chunk, which tells the client.
        self._stage = CLOSING

    def _write(self, data: bytes) -> None:
        if data:
            self._output.write(data)

    def _push(self) -> None:
        """Send what can be sent; hold the connection while something cannot, or too much is under way."""
        try:
            going = self._output.push()
        except OSError:
            self._abort()
            return
        if self._finished or self._stage == GONE:
            return
        if going and self._stage == CLOSING:
            self._finished = True
            self._connection.close()
        elif not going or self._connection.unacknowledged > limits.WINDOW:
            self._hold()

    def _hold(self) -> None:
        if not self._held:
            self._held = True
            self._connection.pause()

    def _abort(self) -> None:
        self._stage = GONE
        self._backlog = b""
        self._output.drop()
        self._connection.abort()
