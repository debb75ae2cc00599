"""Addresses and strategies that the codec tests share."""

from __future__ import annotations

from hypothesis import strategies as st

from dlibos_node.wire import ipv4

MAC = b"\x02\0\0\0\0\x01"
PEER = b"\x02\0\0\0\0\x02"
HERE, THERE = ipv4.address("10.77.0.2"), ipv4.address("10.77.0.1")

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
macs = st.binary(min_size=6, max_size=6).filter(lambda mac: not mac[0] & 1)


def values(thing: object) -> dict[str, object]:
    """Return the public attributes, in the same way of a plain and of a compiled class."""
    named = {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
    return {name: value for name, value in named.items() if not callable(value)}
