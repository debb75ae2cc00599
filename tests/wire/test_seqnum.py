"""Sequence arithmetic agrees with unbounded integers wherever the two numbers are less than 2^31 apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.wire import seqnum

numbers = st.integers(0, 0xFFFFFFFF)
distances = st.integers(-(2**31) + 1, 2**31 - 1)


@given(numbers, distances)
def test_comparisons_follow_the_distance(start: int, distance: int) -> None:
    other = seqnum.add(start, distance)
    assert 0 <= other <= 0xFFFFFFFF
    assert seqnum.sub(other, start) == distance
    assert seqnum.lt(start, other) == (distance > 0)
    assert seqnum.le(start, other) == (distance >= 0)
    assert seqnum.gt(start, other) == (distance < 0)
    assert seqnum.ge(start, other) == (distance <= 0)
    assert seqnum.latest(start, other) == seqnum.latest(other, start) == (other if distance > 0 else start)


@pytest.mark.parametrize(
    ("left", "right", "distance"), [(0, 0xFFFFFFFF, 1), (0xFFFFFFFF, 0, -1), (0x80000000, 0, -(2**31))]
)
def test_wrap(left: int, right: int, distance: int) -> None:
    assert seqnum.sub(left, right) == distance
