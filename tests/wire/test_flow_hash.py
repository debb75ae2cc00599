"""Driver and stack tiles put a flow into the same bucket."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.roles.steering import Steering
from dlibos_node.stack.buckets import Buckets

COUNT = 64


@given(peer=st.integers(0, 2**32 - 1), port=st.integers(0, 65535), local=st.integers(0, 65535))
def test_a_frame_and_its_flow_agree(peer: int, port: int, local: int) -> None:
    here = 0x0A4D0002
    head = struct.pack("!12xHBxHHHBBHII", 0x0800, 0x45, 40, 0, 0, 64, 6, 0, peer, here)
    frame = memoryview(head + struct.pack("!HH", port, local) + bytes(16))
    steering = Steering(list(range(COUNT)))
    buckets = Buckets(0, here, bytes(COUNT))
    assert steering.target(frame, 0, len(frame)) == buckets.of(peer << 32 | port << 16 | local)
