"""An outgoing segment: header fields and a gather list of payload. The stack adds ports, checksum and addresses."""

from __future__ import annotations

from typing import Final

from dlibos_node.tcp.span import Span

MAX_SPANS: Final = 16
"""Spans in one segment at most: with the header they must fit a device's gather list."""

NO_SPANS: Final[tuple[Span, ...]] = ()


class Segment:
    """One segment, or a super-segment that the device cuts into pieces of `mss` bytes when `length` exceeds it.

    `window` is the field as on the wire, already scaled. `options` is empty except on a SYN, a multiple of 4 bytes.
    """

    __slots__ = ("ack", "flags", "length", "mss", "options", "seq", "spans", "window")

    def __init__(
        self,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        options: bytes,
        spans: tuple[Span, ...] | list[Span],
        length: int,
        mss: int,
    ) -> None:
        self.seq: Final = seq
        self.ack: Final = ack
        self.flags: Final = flags
        self.window: Final = window
        self.options: Final = options
        self.spans: Final = spans
        self.length: Final = length
        self.mss: Final = mss

    def __repr__(self) -> str:
        names = "FSRPAUEC"
        flags = "".join(name for bit, name in enumerate(names) if self.flags >> bit & 1)
        return f"<{flags} seq={self.seq} ack={self.ack} win={self.window} len={self.length}>"
