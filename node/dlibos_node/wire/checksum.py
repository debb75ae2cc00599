"""The Internet checksum (RFC 1071), over whole buffers, gather lists and pseudo-headers.

A one's complement sum of 16-bit words is the same as the number the bytes spell, modulo 65535: CPython does that on a
64 KiB buffer in one C call. One detail is left to us: 0 and 65535 are the same remainder and two different sums. Only
a buffer of zero bytes sums to 0; every other multiple of 65535 sums to 65535.

    sum       folded one's complement sum, 0 .. 65535, not inverted. What virtio calls a partial checksum.
    checksum  the inverted sum, as it stands in a finished header.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dlibos_node.wire.buffer import Buffer

WORD: Final = 0xFFFF


def fold(total: int) -> int:
    """Return the 16-bit one's complement sum that a plain sum of 16-bit words stands for."""
    return total % WORD or (WORD if total else 0)


def add_up(data: Buffer) -> int:
    """Return the sum of `data`; an odd length is padded with one zero byte (RFC 1071 section 4.1)."""
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return number % WORD or (WORD if number else 0)


def gather(pieces: Iterable[Buffer], initial: int = 0) -> int:
    """Return the sum of `pieces` as if they were one buffer, plus `initial`.

    A piece that starts at an odd byte has its words swapped (RFC 1071 section 2, byte order independence).
    """
    total, odd = initial, False
    for piece in pieces:
        part = add_up(piece)
        total += ((part & 0xFF) << 8 | part >> 8) if odd else part
        odd ^= bool(len(piece) & 1)
    return fold(total)


def checksum(data: Buffer, initial: int = 0) -> int:
    """Return the checksum of `data` after a sum `initial`, with the checksum field inside `data` zero."""
    return WORD ^ fold(initial + add_up(data))


def verifies(data: Buffer, initial: int = 0) -> bool:
    """Does `data`, its checksum field included, sum to all ones after `initial`?"""
    total = initial + add_up(data)
    return total != 0 and total % WORD == 0


def pseudo_header(source: int, destination: int, protocol: int, length: int) -> int:
    """Return the sum of the IPv4 pseudo-header (RFC 9293 section 3.1, RFC 768) for `length` bytes of protocol data.

    It is also the value of the checksum field that virtio's NEEDS_CSUM expects: the device adds the rest and inverts.
    """
    total = (source >> 16) + (source & WORD) + (destination >> 16) + (destination & WORD) + protocol + length
    return (total - 1) % WORD + 1
