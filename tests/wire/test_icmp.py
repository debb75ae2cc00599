"""ICMP echo: what is emitted is parsed back; what is broken is refused by reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.wire import icmp
from dlibos_node.wire.malformed import Malformed
from tests.wire.samples import u16, values


@given(u16, u16, st.binary(max_size=100))
def test_icmp_echo(identifier: int, sequence: int, payload: bytes) -> None:
    request = icmp.parse(icmp.Message(icmp.ECHO_REQUEST, 0, identifier, sequence, payload).emit())
    assert isinstance(request, icmp.Message)
    reply = request.reply()
    assert reply is not None
    assert values(icmp.parse(reply.emit())) == values(reply)
    assert (reply.kind, reply.identifier, reply.sequence, reply.payload) == (0, identifier, sequence, payload)
    assert reply.length == len(reply.emit())
    assert reply.reply() is None


def test_icmp_refusals() -> None:
    assert icmp.parse(bytes(7)) is Malformed.TRUNCATED
    data = bytearray(icmp.Message(icmp.ECHO_REQUEST, 0, 1, 2, b"ping").emit())
    data[9] ^= 1
    assert icmp.parse(data) is Malformed.CHECKSUM
