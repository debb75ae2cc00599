"""ARP packets: what is emitted is parsed back; what is broken is refused by reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.wire import arp
from dlibos_node.wire.malformed import Malformed
from tests.wire.samples import HERE, MAC, PEER, THERE, macs, u32, values


@given(st.sampled_from([arp.REQUEST, arp.REPLY]), macs, u32, st.binary(min_size=6, max_size=6), u32)
def test_arp_round_trip(operation: int, mac: bytes, sender: int, target_mac: bytes, target: int) -> None:
    packet = arp.Packet(operation, mac, sender, target_mac, target)
    assert values(arp.parse(packet.emit() + bytes(18))) == values(packet)


def test_arp_request_and_reply() -> None:
    question = arp.parse(arp.request(PEER, THERE, HERE).emit())
    assert isinstance(question, arp.Packet)
    answer = question.reply(MAC)
    assert values(answer) == {
        "operation": arp.REPLY,
        "sender_mac": MAC,
        "sender": HERE,
        "target_mac": PEER,
        "target": THERE,
    }


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (1, 6, Malformed.VERSION),
        (2, 0x86, Malformed.VERSION),
        (4, 8, Malformed.VERSION),
        (5, 16, Malformed.VERSION),
        (7, 3, Malformed.FLAGS),
        (8, 0xFF, Malformed.ADDRESS),
    ],
)
def test_arp_refusals(at: int, value: int, reason: Malformed) -> None:
    packet = bytearray(arp.request(MAC, HERE, THERE).emit())
    packet[at] = value
    assert arp.parse(packet) is reason
    assert arp.parse(packet[:27]) is Malformed.TRUNCATED
