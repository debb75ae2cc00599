"""Header words and where a run of messages may be cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.noc import message


def test_a_header_has_the_fields_where_the_picture_says() -> None:
    word = message.header(0x123, 0x2AB, 0xBEEF, 3, 126)
    assert word >> 48 == 0x123
    assert word >> 32 & 0xFFFF == 0x2AB
    assert word >> message.TAG_SHIFT & 0xFFFF == 0xBEEF
    assert word >> message.QUEUE_SHIFT & 0xFF == 3
    assert word & message.LENGTH_MASK == 126
    assert word >> message.ROUTE_SHIFT == message.route(0x123, 0x2AB)


@given(st.lists(st.integers(0, 126), max_size=20), st.integers(0, 2000))
def test_a_cut_falls_between_messages_and_wastes_no_credit(lengths: list[int], credit: int) -> None:
    words: list[int] = []
    ends = [0]
    for length in lengths:
        words += [message.header(1, 2, 3, 0, length), *range(length)]
        ends.append(len(words))
    assert message.fit(words, credit) == max(end for end in ends if end <= credit)
