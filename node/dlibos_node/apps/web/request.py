"""Request heads: httptools (llhttp) parses them, this module checks what HTTP asks beyond the grammar.

llhttp is given each head whole and alone (see `framing`), so every check sees a complete head and an error belongs to
exactly one request. Its lenient flags all stay off: bare LF, folded lines, spaces before the colon, Content-Length
beside Transfer-Encoding, or repeated, are errors (RFC 9112 sections 2.2, 5, 6.3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.statistics import Refusal
from dlibos_node.apps.web.target import decode

if TYPE_CHECKING:
    from dlibos_node.apps.web.routes import Prepared

# RFC 9110 section 9 and RFC 5789. A method outside is not implemented (501), nor is CONNECT, as this is no proxy; one
# inside may be refused by a resource (405).
METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH"))
# RFC 9112 section 3: method SP request-target SP HTTP-version, one space each, the method a token.
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) (HTTP/[0-9]\.[0-9])\r\n")
CLOSE: Final = b"Connection: close\r\n"
_VERSIONS: Final = (b"HTTP/1.1", b"HTTP/1.0")
# RFC 9110 section 7.2: uri-host [":" port], and the empty field of a target without an authority.
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_UPGRADE_FIELD: Final = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class Request:
    """One request head that was understood. Nothing in it changes after parsing but the memo `prepared`."""

    __slots__ = (
        "expects_continue",
        "headers",
        "keep_alive",
        "length",
        "method",
        "modern",
        "path",
        "persistence",
        "prepared",
        "target",
    )

    def __init__(self, method: str, target: bytes, headers: dict[bytes, bytes], modern: bool, keep_alive: bool) -> None:
        self.method: Final = method
        self.target: Final = target
        """The request target as sent: printable ASCII."""
        self.path: Final = decode(target)
        """What the target names below the root; None when it is no path."""
        self.headers: Final = headers
        """Fields by lower-case name; repeated ones joined by a comma (RFC 9110 section 5.3)."""
        self.modern: Final = modern
        """HTTP/1.1: the client understands chunked bodies and 100 Continue."""
        self.keep_alive: Final = keep_alive
        self.persistence: Final = _persistence(modern, keep_alive)
        """The Connection field line of the answer, empty where the version already says it."""
        self.length: Final = _body_length(headers)
        """Bytes of the body; None when it is chunked and only its end tells."""
        self.expects_continue: Final = modern and headers.get(b"expect", b"").lower() == b"100-continue"
        self.prepared: Prepared | None = None


class RequestParser:
    """Heads and bodies of one connection, in order. Whoever feeds it must cut at message ends, as `framing` does.

    `body` holds the data of the last feed, `complete` tells that the message ended with it.
    """

    __slots__ = ("_count", "_headers", "_hosts", "_parser", "_request", "_target", "body", "complete")

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.complete = False
        self._restart()

    def parse(self, head: bytes) -> Request | Refusal:
        """Understand one complete head, from its first byte to the empty line; no body byte may follow in `head`."""
        refusal = _refuse_head(head)
        if refusal is not None:
            return refusal
        self._headers: dict[bytes, bytes] = {}
        self._target = b""
        self._count = self._hosts = 0
        self._request: Request | None = None
        self.complete = False
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            return self._decline_upgrade(head)
        except httptools.HttpParserError:
            return Refusal.MALFORMED
        return self._checked()

    def feed(self, data: memoryview) -> bool:
        """Read a part of the body into `body`; False when its framing is broken. Data before the fault is in `body`."""
        self.body.clear()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            return False
        return True

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field of the head; trailers, which come after it, are dropped (RFC 9110 section 6.5.1)."""
        if self._request is not None:
            return
        name = name.lower()
        value = value.strip(b" \t")
        self._count += 1
        self._hosts += name == b"host"
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        """Build the request; `should_keep_alive` speaks of this message only until its end."""
        tokens = self._headers.get(b"connection", b"").lower().replace(b" ", b"").split(b",")
        # llhttp lets the last token win; close must (RFC 9112 section 9.3).
        keep_alive = self._parser.should_keep_alive() and b"close" not in tokens
        method = self._parser.get_method().decode("ascii")
        modern = self._parser.get_http_version() == "1.1"
        self._request = Request(method, self._target, self._headers, modern, keep_alive)

    def on_body(self, data: bytes) -> None:
        """Collect body data."""
        self.body.append(data)

    def on_message_complete(self) -> None:
        """Note the end of the message."""
        self.complete = True

    def _restart(self) -> None:
        self._parser = httptools.HttpRequestParser(self)

    def _decline_upgrade(self, head: bytes) -> Request | Refusal:
        # RFC 9110 section 7.8: a server may ignore Upgrade. llhttp would take what follows for the other protocol and
        # skip a body, so a new parser reads the same head without the field.
        self._restart()
        return self.parse(_UPGRADE_FIELD.sub(b"", head))

    def _checked(self) -> Request | Refusal:
        request = self._request
        if request is None:
            return Refusal.MALFORMED
        if self._count > limits.HEADER_COUNT:
            return Refusal.HEAD_TOO_LARGE
        if self._hosts > 1 or (request.modern and self._hosts == 0):
            return Refusal.HOST  # RFC 9112 section 3.2
        return _refuse_request(request) or request


class KnownRequests:
    """The meaning of heads seen before, by their exact bytes.

    Safe, because llhttp is deterministic and, between two messages, in its initial state: what a head means is then a
    function of its bytes alone. Only heads that the parser took for one complete message without a body are kept, so
    that a parser that never saw a remembered head stands where it would stand after it: between two messages.
    """

    __slots__ = ("_requests", "find")

    def __init__(self) -> None:
        self._requests: Final[dict[bytes, Request]] = {}
        self.find: Final = self._requests.get

    def add(self, head: bytes, request: Request) -> None:
        """Remember a bodiless request; a full table starts over, which costs a flood of new heads one parse each."""
        if len(head) > limits.KNOWN_HEAD:
            return
        if len(self._requests) >= limits.KNOWN_REQUESTS:
            self._requests.clear()
        self._requests[head] = request


def _refuse_head(head: bytes) -> Refusal | None:
    line = _REQUEST_LINE.match(head)
    if line is None:
        return Refusal.MALFORMED
    if line[3] not in _VERSIONS:
        return Refusal.VERSION
    if line[1] not in METHODS:
        return Refusal.METHOD
    return None


def _refuse_request(request: Request) -> Refusal | None:
    if _HOST.fullmatch(request.headers.get(b"host", b"")) is None:
        return Refusal.HOST
    coding = request.headers.get(b"transfer-encoding")
    if coding is not None and not request.modern:
        return Refusal.FRAMING  # RFC 9112 section 6.1: HTTP/1.0 has no transfer codings; who sends one is not trusted
    if coding is not None and coding.lower() != b"chunked":
        return Refusal.CODING
    if request.modern and b"expect" in request.headers and not request.expects_continue:
        return Refusal.EXPECTATION  # RFC 9110 section 10.1.1
    return None


def _persistence(modern: bool, keep_alive: bool) -> bytes:
    if not keep_alive:
        return CLOSE
    return b"" if modern else b"Connection: keep-alive\r\n"


def _body_length(headers: dict[bytes, bytes]) -> int | None:
    # The parser has refused everything but digits, overflow, and both fields at once.
    if b"transfer-encoding" in headers:
        return None
    return int(headers.get(b"content-length", b"0"))
