"""No input makes a codec raise."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.wire import arp, ethernet, icmp, ipv4, tcp, udp
from tests.wire.samples import HERE, THERE


@given(st.binary(max_size=120), st.integers(0, 30))
def test_no_input_raises(data: bytes, offset: int) -> None:
    parsers: list[Callable[[bytes], object]] = [
        lambda d: ethernet.parse(d, offset),
        lambda d: arp.parse(d, offset),
        lambda d: ipv4.parse(d, offset),
        lambda d: ipv4.parse(memoryview(d), offset, verify=False),
        lambda d: tcp.parse(d, offset),
        tcp.parse_options,
        icmp.parse,
        lambda d: udp.parse(d, HERE, THERE),
        lambda d: udp.parse(d, HERE, THERE, verify=False),
    ]
    for parse in parsers:
        assert parse(data) is not None
