"""Which bucket of the steering table a flow falls into: asked by driver tiles of frames, by stack tiles of flows."""

from __future__ import annotations

from typing import Final

_MIX: Final = 0x9E37_79B1  # 2^32 / golden ratio: spreads neighbouring addresses and ports (Knuth, TAOCP 6.4)


def bucket(addresses: int, ports: int, count: int) -> int:
    """Return one of `count` buckets; both arguments are the XOR of the two ends', so that both directions agree."""
    key = addresses ^ ports * 0x10001
    return (key * _MIX & 0xFFFF_FFFF) * count >> 32
