"""Where heads and chunked messages are cut."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.apps.web.framing import ChunkCutter, HeadBuffer
from dlibos_node.apps.web.statistics import Refusal
from tests.apps.exchange import each_byte

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_head_in_bytes() -> None:
    buffer = HeadBuffer()
    taken = [buffer.take(part, 0) for part in each_byte(HEAD)]
    assert taken == [(None, 1)] * (len(HEAD) - 1) + [(HEAD, 1)]
    assert len(buffer) == 0


def test_what_follows_a_head_is_left() -> None:
    buffer = HeadBuffer()
    assert buffer.take(b"..\r\n" + HEAD[:5], 2) == (None, 9)
    assert buffer.take(HEAD[5:] + b"rest", 0) == (HEAD, len(HEAD) - 5)
    assert buffer.take(b"\r", 0) == (None, 1)
    assert buffer.take(b"\n" + HEAD + b"\r\n", 0) == (HEAD, len(HEAD) + 1)


def test_a_first_byte_that_no_method_has() -> None:
    for first in (b"\x16", b" ", b"\n", b"\r\r", b"\r\n\0"):
        assert HeadBuffer().take(first, 0)[0] is Refusal.MALFORMED


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"a"])).map(b"".join), st.lists(st.integers(0, 40))
)
def test_every_end_is_a_cut_however_the_data_arrives(data: bytes, places: list[int]) -> None:
    """What a whole read is cut into, its parts are cut into too, but for the seams between reads."""
    ends = {at + 4 for at in range(len(data)) if data.startswith(b"\r\n\r\n", at)}
    expected, last = set(), 0
    for end in sorted(ends):  # ends that overlap the one before are none: no message ends there
        if end - last >= 4:
            expected.add(end)
            last = end
    seams = sorted({place for place in places if place < len(data)} | {0, len(data)})
    cutter, cuts = ChunkCutter(), set()
    for start, stop in itertools.pairwise(seams):
        at = start
        while at < stop:
            at = start + cutter.cut(data[start:stop], at - start)
            cuts.add(at)
    assert expected <= cuts
    assert cuts <= expected | set(seams)
