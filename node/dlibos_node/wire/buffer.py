"""What the codecs read from and write to: anything with bytes in it, by constant offset, without a copy."""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Readable bytes. A memoryview must be one-dimensional, of single bytes."""

Writable: TypeAlias = bytearray | memoryview
"""Bytes that can be written in place."""
