"""ICMP for IPv4 (RFC 792): echo, the one thing a host must answer (RFC 1122 section 3.2.2.6)."""

from __future__ import annotations

import struct
from typing import Final

from dlibos_node.wire import checksum
from dlibos_node.wire.buffer import Buffer
from dlibos_node.wire.malformed import Malformed

LENGTH: Final = 8
ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
ECHO_REQUEST: Final = 8

HEADER: Final = struct.Struct("!BBHHH")


class Message:
    """An ICMP message; `identifier` and `sequence` are the second header word of the types that have no such fields."""

    __slots__ = ("code", "identifier", "kind", "payload", "sequence")

    def __init__(self, kind: int, code: int, identifier: int, sequence: int, payload: bytes) -> None:
        self.kind: Final = kind
        self.code: Final = code
        self.identifier: Final = identifier
        self.sequence: Final = sequence
        self.payload: Final = payload

    @property
    def length(self) -> int:
        """Bytes that `emit` returns."""
        return LENGTH + len(self.payload)

    def emit(self) -> bytes:
        """Return the message with its checksum."""
        head = HEADER.pack(self.kind, self.code, 0, self.identifier, self.sequence)
        check = checksum.gather((head, self.payload)) ^ checksum.WORD
        return HEADER.pack(self.kind, self.code, check, self.identifier, self.sequence) + self.payload

    def reply(self) -> Message | None:
        """Return the echo reply, or None if this is no echo request."""
        if self.kind != ECHO_REQUEST or self.code != 0:
            return None
        return Message(ECHO_REPLY, 0, self.identifier, self.sequence, self.payload)


def parse(data: Buffer) -> Message | Malformed:
    """Read a message that fills `data`; its payload is copied."""
    if len(data) < LENGTH:
        return Malformed.TRUNCATED
    if not checksum.verifies(data):
        return Malformed.CHECKSUM
    kind, code, _, identifier, sequence = HEADER.unpack_from(data)
    return Message(kind, code, identifier, sequence, bytes(data[LENGTH:]))
