"""The virtio-net header before every frame: which offloads a frame asks for, or has had.

Source: Virtual I/O Device (VIRTIO) 1.1, section 5.1.6, and linux/virtio_net.h `struct virtio_net_hdr`; ten bytes,
little-endian (a TAP device is told so with TUNSETVNETLE):

     0       1          2         4          6            8
    +-------+----------+---------+----------+------------+-------------+
    | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset |
    +-------+----------+---------+----------+------------+-------------+

`hdr_len`, `csum_start` and `csum_offset` count from the first byte of the Ethernet header, not of this one.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

HEADER: Final = struct.Struct("<BBHHHH")
HEADER_LENGTH: Final = 10

# Flags.
NEEDS_CSUM: Final = 1  # the checksum field holds only the pseudo-header's sum: the device, or the reader, completes it
DATA_VALID: Final = 2  # receive only: the checksum was verified

# gso_type: how to cut a frame that is longer than the MTU allows.
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_UDP: Final = 3
GSO_TCPV6: Final = 4
GSO_ECN: Final = 0x80  # a bit beside the type: CWR is set in the first piece only

PLAIN: Final = bytes(HEADER_LENGTH)
"""The header of a frame that asks for nothing: complete checksums, not longer than the MTU."""

ETHERNET_LENGTH: Final = 14
# The longest frame a TAP with TSO hands over: this header, Ethernet, one VLAN tag, the longest IPv4 packet.
MAX_FRAME: Final = HEADER_LENGTH + ETHERNET_LENGTH + 4 + 65535

_TCP4_CSUM_START: Final = ETHERNET_LENGTH + 20
_TCP_CSUM_OFFSET: Final = 16


@lru_cache(maxsize=4096)
def tcp4_header(needs_csum: bool, gso_size: int, header_length: int) -> bytes:
    """Build the header of an outgoing TCP segment over IPv4 without IP options.

    `gso_size` is the payload of one piece in bytes, 0 for a frame that is not cut; cutting implies `needs_csum`.
    `header_length` is that of the Ethernet, IPv4 and TCP headers together.
    """
    if gso_size:
        return HEADER.pack(NEEDS_CSUM, GSO_TCPV4, header_length, gso_size, _TCP4_CSUM_START, _TCP_CSUM_OFFSET)
    if needs_csum:
        return HEADER.pack(NEEDS_CSUM, GSO_NONE, header_length, 0, _TCP4_CSUM_START, _TCP_CSUM_OFFSET)
    return PLAIN
