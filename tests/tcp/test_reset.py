"""The RST for a segment without a connection, RFC 9293 section 3.10.7.1."""

from __future__ import annotations

from dlibos_node.tcp.reset import reset_for
from dlibos_node.wire.tcp import ACK, FIN, RST, SYN


def test_reset_is_never_answered() -> None:
    assert reset_for(1, 2, RST, 0) is None
    assert reset_for(1, 2, RST | ACK, 5) is None


def test_ack_gives_the_sequence_number() -> None:
    answer = reset_for(1, 77, ACK | FIN, 10)
    assert answer is not None
    assert (answer.seq, answer.ack, answer.flags, answer.window) == (77, 0, RST, 0)


def test_without_ack_everything_is_acknowledged() -> None:
    answer = reset_for(0xFFFFFFFF, 77, SYN | FIN, 10)
    assert answer is not None
    assert (answer.seq, answer.ack, answer.flags) == (0, 11, RST | ACK)
