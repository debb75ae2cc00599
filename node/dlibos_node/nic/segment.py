"""What a network card does for a lazy sender: complete a partial checksum, cut a long TCP segment into wire packets.

Frames are whole: a virtio header, then Ethernet. The mesh leaves both to the device; only code that must see single
packets as they would be on a wire (fault.py) does it here.
"""

from __future__ import annotations

import struct
from typing import Final

from dlibos_node.nic.virtio import (
    ETHERNET_LENGTH,
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    HEADER,
    HEADER_LENGTH,
    NEEDS_CSUM,
    PLAIN,
)
from dlibos_node.wire import checksum, ipv4, seqnum, tcp

_IP: Final = HEADER_LENGTH + ETHERNET_LENGTH
_IDENTIFICATION: Final = 4
_UDP_CSUM_OFFSET: Final = 6
_LAST_ONLY: Final = tcp.FIN | tcp.PSH
_FIRST_ONLY: Final = tcp.CWR  # RFC 3168 section 6.1.2
_U16: Final = struct.Struct("!H")
_U32: Final = struct.Struct("!I")


def complete_checksum(frame: bytearray) -> None:
    """Make `frame` one that asks for nothing: fill in the checksum if it was partial, and clear the virtio header.

    A header that points outside the frame is cleared and nothing is filled in: the receiver will count a bad checksum.
    """
    flags, _, _, _, start, offset = HEADER.unpack_from(frame)
    frame[:HEADER_LENGTH] = PLAIN
    start += HEADER_LENGTH
    field = start + offset
    if not flags & NEEDS_CSUM or field + 2 > len(frame):
        return
    value = checksum.checksum(frame[start:])
    if offset == _UDP_CSUM_OFFSET and value == 0:
        value = checksum.WORD  # RFC 768: zero would mean "no checksum"
    _U16.pack_into(frame, field, value)


def wire_packets(frame: bytearray) -> list[bytearray]:
    """Cut a TCP-over-IPv4 frame into the packets that the wire would carry, each with a partial checksum.

    Any other frame, and one whose headers make no sense, is returned alone and as it is.
    """
    _, gso_type, _, size, _, _ = HEADER.unpack_from(frame)
    if gso_type & ~GSO_ECN != GSO_TCPV4 or not size:
        return [frame]
    # hdr_len in the virtio header is only a hint, and Linux sets it to more: the headers themselves say where they end.
    ip = ipv4.parse(frame, _IP, verify=False)
    if not isinstance(ip, ipv4.Header) or ip.protocol != ipv4.TCP:
        return [frame]
    start = _IP + ip.header_length
    segment = tcp.parse(frame, start)
    if not isinstance(segment, tcp.Header):
        return [frame]
    payload = start + segment.header_length
    pieces = [frame[:payload] + frame[at : at + size] for at in range(payload, len(frame), size)]
    for index, piece in enumerate(pieces):
        clear = (_FIRST_ONLY if index else 0) | (_LAST_ONLY if index < len(pieces) - 1 else 0)
        piece[start + tcp.FLAGS] &= ~clear
        _U32.pack_into(piece, start + tcp.SEQ, seqnum.add(segment.seq, index * size))
        _set_lengths(piece, ip, ip.identification + index)
    return pieces or [frame]


def _set_lengths(piece: bytearray, ip: ipv4.Header, identification: int) -> None:
    """Give the copied headers the piece's own length, identification and checksums, the TCP one partial."""
    start = _IP + ip.header_length
    piece[:HEADER_LENGTH] = HEADER.pack(NEEDS_CSUM, GSO_NONE, 0, 0, start - HEADER_LENGTH, tcp.CHECKSUM)
    _U16.pack_into(piece, _IP + ipv4.TOTAL_LENGTH, len(piece) - _IP)
    _U16.pack_into(piece, _IP + _IDENTIFICATION, identification & 0xFFFF)
    _U16.pack_into(piece, _IP + ipv4.CHECKSUM, 0)
    _U16.pack_into(piece, _IP + ipv4.CHECKSUM, ipv4.header_checksum(piece[_IP:start]))
    partial = checksum.pseudo_header(ip.source, ip.destination, ipv4.TCP, len(piece) - start)
    _U16.pack_into(piece, start + tcp.CHECKSUM, partial)
