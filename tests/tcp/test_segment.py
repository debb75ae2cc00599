"""What an outgoing segment looks like in a log."""

from __future__ import annotations

from dlibos_node.tcp.segment import Segment
from dlibos_node.tcp.span import Span
from dlibos_node.wire.tcp import ACK, PSH, SYN


def test_repr_names_flags_and_numbers() -> None:
    assert repr(Segment(1, 2, ACK | PSH, 3, b"", (), 4, 5)) == "<PA seq=1 ack=2 win=3 len=4>"
    assert repr(Segment(1, 0, SYN, 3, b"", (), 0, 5)) == "<S seq=1 ack=0 win=3 len=0>"


def test_part_of_a_span() -> None:
    part = Span(b"0123456789", 2, 6).part(1, 3)
    assert (part.lease, part.offset, part.length) == (b"0123456789", 3, 3)
    assert repr(part) == "Span(3+3)"
