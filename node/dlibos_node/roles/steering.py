"""Which stack tile a frame goes to: a symmetric flow hash and a table of buckets, as mPIPE's classifier does."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from dlibos_node.wire import flow_hash

# Ethertype | version, header length | fragment field | protocol | source | target | ports
_TUPLE: Final = struct.Struct("!12xHBx4xHxB2xIIHH")
_NEEDED: Final = _TUPLE.size
IPV4: Final = 0x0800
ARP: Final = 0x0806
_ARP_BYTES: Final = ARP.to_bytes(2, "big")
_TCP_UDP: Final = (6, 17)
EVERYBODY: Final = -1
NO_PORT: Final = -1
_IP: Final = 14  # Ethernet header


def destination_port(view: memoryview, offset: int, length: int) -> int:
    """Return the TCP or UDP port that the Ethernet frame at `offset` is for; NO_PORT when there is none to read.

    Only the first fragment of a packet has ports; IP options move them.
    """
    if length < _NEEDED:
        return NO_PORT
    ethertype, version, fragment, protocol, _, _, _, _ = _TUPLE.unpack_from(view, offset)
    at = _IP + (version & 0xF) * 4
    if ethertype != IPV4 or version < 0x45 or version > 0x4F or protocol not in _TCP_UDP or fragment & 0x1FFF:
        return NO_PORT
    if at + 4 > length:
        return NO_PORT
    port: int = view[offset + at + 2] << 8 | view[offset + at + 3]
    return port


class Steering:
    """The bucket table: `buckets[b]` is the stack tile of bucket b. Both directions of a flow fall into one bucket."""

    __slots__ = ("buckets",)

    def __init__(self, owners: Sequence[int]) -> None:
        self.buckets = list(owners)

    def target(self, view: memoryview, offset: int, length: int) -> int:
        """Return the stack tile for the Ethernet frame at `offset`; EVERYBODY for what all of them must hear (ARP).

        Only the first fragment of a packet has ports, so all of them are steered by addresses alone.
        """
        if length < _NEEDED:
            return EVERYBODY if bytes(view[offset + 12 : offset + 14]) == _ARP_BYTES else self.buckets[0]
        ethertype, version, fragment, protocol, source, target, sport, dport = _TUPLE.unpack_from(view, offset)
        if ethertype == ARP:
            return EVERYBODY
        if ethertype != IPV4:
            return self.buckets[0]
        whole = version == 0x45 and protocol in _TCP_UDP and not fragment & 0x3FFF
        ports: int = sport ^ dport if whole else 0
        return self.buckets[flow_hash.bucket(source ^ target, ports, len(self.buckets))]
