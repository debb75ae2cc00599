"""TCP sequence numbers: the only place that does arithmetic modulo 2^32 (RFC 9293 section 3.4).

Two numbers are compared by their signed distance, which is right as long as they lie less than 2^31 apart. No window
of TCP is larger than 2^30 bytes (RFC 7323 section 2.3), so every comparison a connection makes is.
"""

from __future__ import annotations

from typing import Final

MASK: Final = 0xFFFFFFFF
HALF: Final = 0x80000000


def add(number: int, count: int) -> int:
    """Return the sequence number `count` (may be negative) after `number`."""
    return (number + count) & MASK


def sub(left: int, right: int) -> int:
    """Return the signed distance from `right` to `left`, in -2^31 .. 2^31 - 1."""
    return ((left - right + HALF) & MASK) - HALF


def lt(left: int, right: int) -> bool:
    """Is `left` before `right`?"""
    return ((left - right) & MASK) >= HALF


def le(left: int, right: int) -> bool:
    """Is `left` before `right`, or the same?"""
    return left == right or ((left - right) & MASK) >= HALF


def gt(left: int, right: int) -> bool:
    """Is `left` after `right`?"""
    return left != right and ((left - right) & MASK) < HALF


def ge(left: int, right: int) -> bool:
    """Is `left` after `right`, or the same?"""
    return ((left - right) & MASK) < HALF


def latest(left: int, right: int) -> int:
    """Return the later of the two."""
    return left if ((left - right) & MASK) < HALF else right
