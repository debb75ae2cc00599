"""The flow hash: symmetric, even, and right about what has ports."""

from __future__ import annotations

import struct
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.roles.steering import EVERYBODY, Steering

STACKS = [3, 4, 5]
ADDRESSES = st.integers(0, 2**32 - 1)
PORTS = st.integers(0, 2**16 - 1)


def frame(source: int, target: int, sport: int, dport: int, *, protocol: int = 6, fragment: int = 0) -> memoryview:
    head = struct.pack("!12xHBxHHHBBHII", 0x0800, 0x45, 40, 0, fragment, 64, protocol, 0, source, target)
    return memoryview(head + struct.pack("!HH", sport, dport) + bytes(16))


def target(steering: Steering, view: memoryview) -> int:
    return steering.target(view, 0, len(view))


@given(ADDRESSES, ADDRESSES, PORTS, PORTS)
def test_both_directions_of_a_flow_meet_the_same_stack_tile(a: int, b: int, sport: int, dport: int) -> None:
    steering = Steering([STACKS[bucket % 3] for bucket in range(4160)])
    tile = target(steering, frame(a, b, sport, dport))
    assert tile in STACKS
    assert tile == target(steering, frame(b, a, dport, sport))


@given(ADDRESSES, ADDRESSES, PORTS, PORTS)
def test_all_fragments_of_a_packet_meet_the_same_stack_tile(a: int, b: int, sport: int, dport: int) -> None:
    steering = Steering([STACKS[bucket % 3] for bucket in range(4160)])
    first, later = frame(a, b, sport, dport, fragment=0x2000), frame(a, b, 0x4141, 0x4242, fragment=0x0010)
    assert target(steering, first) == target(steering, later)


def test_the_ports_of_one_client_spread_evenly() -> None:
    steering = Steering([STACKS[bucket % 3] for bucket in range(4160)])
    seen = Counter(target(steering, frame(0x0A4D0001, 0x0A4D0002, port, 80)) for port in range(32768, 61000))
    assert set(seen) == set(STACKS)
    assert max(seen.values()) < 1.2 * min(seen.values())


def test_arp_concerns_everybody_and_the_rest_goes_to_the_first_bucket() -> None:
    steering = Steering([STACKS[bucket % 3] for bucket in range(16)])
    for length in (14, 42, 60):
        arp = memoryview(bytes(12) + b"\x08\x06" + bytes(length - 14))
        assert target(steering, arp) == EVERYBODY
        ipv6 = memoryview(bytes(12) + b"\x86\xdd" + bytes(length - 14))
        assert target(steering, ipv6) == steering.buckets[0]
