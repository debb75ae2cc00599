"""Payload by reference: TCP moves spans and never looks at, or copies, the bytes they name."""

from __future__ import annotations

from typing import Any, Final


class Span:
    """`length` bytes at `offset` of the buffer that `lease` stands for.

    The core treats `lease` as opaque: a memory.Lease in a stack tile, plain bytes in tests and in the user-mode NIC.
    """

    __slots__ = ("lease", "length", "offset")

    def __init__(self, lease: Any, offset: int, length: int) -> None:
        self.lease: Final = lease
        self.offset: Final = offset
        self.length: Final = length

    def part(self, start: int, length: int) -> Span:
        """Return `length` bytes from `start`, counted from this span's first byte."""
        return Span(self.lease, self.offset + start, length)

    def __repr__(self) -> str:
        return f"Span({self.offset}+{self.length})"
