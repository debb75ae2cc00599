"""Where one message ends and the next begins, so that the parser is never fed beyond a message it has not answered.

    GET / HTTP/1.1 CRLF Host: a CRLF CRLF | POST /echo ... CRLF CRLF | 5 CRLF hello CRLF 0 CRLF CRLF | GET ...
    `---------------- a head ------------'  `------ a head -------'   `--- body, cut at CRLF CRLF --'

A head ends at its first CRLF CRLF. A chunked message always ends with CRLF CRLF too, so a body cut behind each one ends
at a cut; which of them is its end is the parser's to say. Responses keep their order, and a response still streaming
holds back what follows, because what follows was not parsed.
"""

from __future__ import annotations

from typing import Final

from dlibos_node.apps.web import limits
from dlibos_node.apps.web.statistics import Refusal

CRLF: Final = b"\r\n"
END: Final = b"\r\n\r\n"
# First bytes a method can have (RFC 9110 section 5.6.2); a TLS hello or other noise is refused at once, not waited for.
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class HeadBuffer:
    """A head that arrives in parts. Empty lines before it are dropped (RFC 9112 section 2.2)."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes: Final = bytearray()

    def __len__(self) -> int:
        return len(self._bytes)

    def take(self, data: bytes, at: int) -> tuple[bytes | Refusal | None, int]:
        """Take from `data[at:]` up to the end of the head.

        Answers the head, None while it is not complete, or why it never can be; and where in `data` to go on.
        """
        held = self._bytes
        searched = max(0, len(held) - len(END) + 1)
        held += data[at:]
        while held.startswith(CRLF):
            del held[: len(CRLF)]
            searched = 0
        end = held.find(END, searched)
        refusal = _refuse_partial(held, searched, end)
        if refusal is not None:
            return refusal, len(data)
        if end < 0:
            return None, len(data)
        head = bytes(held[: end + len(END)])
        left = len(held) - len(head)
        held.clear()
        return head, len(data) - left


class ChunkCutter:
    """Cuts a chunked body behind every CRLF CRLF, also behind one that arrives in parts."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def cut(self, data: bytes, at: int) -> int:
        """Answer where the piece that starts at `at` ends."""
        tail = self._tail
        if tail:
            joined = (tail + data[at : at + 3]).find(END)
            if joined >= 0:
                self._tail = b""
                return at + joined + len(END) - len(tail)
        end = data.find(END, at)
        if end >= 0:
            self._tail = b""
            return end + len(END)
        self._tail = (tail + data[max(at, len(data) - 3) :])[-3:]
        return len(data)


def _refuse_partial(held: bytearray, start: int, end: int) -> Refusal | None:
    if held and held[0] not in _TOKEN and held != b"\r":
        return Refusal.MALFORMED
    # An empty line after LF alone: who ends lines so would wait for ever for an answer to a head that never ends.
    last = len(held) if end < 0 else end + len(END) - 1
    if held.find(b"\n\n", start, last) >= 0 or held.find(b"\n\r\n", start, last) >= 0:
        return Refusal.MALFORMED
    line = held.find(CRLF)
    if line > limits.REQUEST_LINE or (line < 0 and len(held) > limits.REQUEST_LINE + 1):
        return Refusal.TARGET_TOO_LONG
    section = (len(held) if end < 0 else end + len(END)) - line - len(CRLF)
    if line >= 0 and section > limits.HEADER_SECTION:
        return Refusal.HEAD_TOO_LARGE
    return None
