"""The checksum against the definition in RFC 1071, word by word with end-around carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.wire import checksum

addresses = st.integers(0, 0xFFFFFFFF)


def by_definition(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] << 8 | data[at + 1]
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=2_000))
def test_sum_is_the_definition(data: bytes) -> None:
    for kind in (bytes, bytearray, memoryview):
        assert checksum.add_up(kind(data)) == by_definition(data)


@pytest.mark.parametrize("data", [b"", b"\0", bytes(4), b"\xff" * 2, b"\xff" * 4, b"\xff\xfe\x00\x01", b"\xff"])
def test_zero_and_all_ones_are_told_apart(data: bytes) -> None:
    assert checksum.add_up(data) == by_definition(data)
    assert checksum.checksum(data) == 0xFFFF ^ by_definition(data)


def test_example_of_rfc_1071_section_3() -> None:
    assert checksum.add_up(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(0, 0xFFFF))
def test_gather_is_the_sum_of_the_whole(pieces: list[bytes], initial: int) -> None:
    whole = checksum.fold(initial + checksum.add_up(b"".join(pieces)))
    assert checksum.gather(pieces, initial) == whole


@given(st.binary(min_size=2, max_size=200), addresses, addresses)
def test_what_is_filled_in_verifies_and_any_flipped_bit_does_not(data: bytes, source: int, destination: int) -> None:
    pseudo = checksum.pseudo_header(source, destination, 6, len(data))
    packet = bytearray(b"\0\0" + data)
    packet[0:2] = checksum.checksum(packet, pseudo).to_bytes(2, "big")
    assert checksum.verifies(packet, pseudo)
    packet[1 + len(data) // 2] ^= 0x10
    assert not checksum.verifies(packet, pseudo)


@given(addresses, addresses, st.sampled_from([6, 17]), st.integers(0, 0xFFFF))
def test_pseudo_header(source: int, destination: int, protocol: int, length: int) -> None:
    data = source.to_bytes(4, "big") + destination.to_bytes(4, "big") + bytes((0, protocol)) + length.to_bytes(2, "big")
    assert checksum.pseudo_header(source, destination, protocol, length) == by_definition(data)


@given(st.binary(min_size=20, max_size=20), st.integers(0, 0xFFFF))
def test_partial_checksum_completed_by_a_device_is_the_full_one(segment: bytes, length: int) -> None:
    # virtio: the field holds the pseudo-header's sum, the device sums the segment over it and inverts.
    pseudo = checksum.pseudo_header(0x0A4D0001, 0x0A4D0002, 6, length)
    with_zero = segment[:16] + b"\0\0" + segment[18:]
    with_partial = segment[:16] + pseudo.to_bytes(2, "big") + segment[18:]
    assert checksum.checksum(with_partial) == checksum.checksum(with_zero, pseudo)


def test_nothing_never_verifies() -> None:
    assert not checksum.verifies(b"")
    assert not checksum.verifies(bytes(20))
