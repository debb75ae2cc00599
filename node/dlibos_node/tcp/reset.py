"""The answer to a segment that belongs to no connection (RFC 9293 section 3.10.7.1)."""

from __future__ import annotations

from dlibos_node.tcp.config import DEFAULT_PEER_MSS
from dlibos_node.tcp.segment import NO_SPANS, Segment
from dlibos_node.wire import seqnum
from dlibos_node.wire.tcp import ACK, FIN, RST, SYN


def reset_for(seq: int, ack: int, flags: int, length: int) -> Segment | None:
    """Return the RST for a segment with `length` bytes of payload, None if it is an RST itself."""
    if flags & RST:
        return None
    if flags & ACK:
        return Segment(ack, 0, RST, 0, b"", NO_SPANS, 0, DEFAULT_PEER_MSS)
    end = seqnum.add(seq, length + (1 if flags & SYN else 0) + (1 if flags & FIN else 0))
    return Segment(0, end, RST | ACK, 0, b"", NO_SPANS, 0, DEFAULT_PEER_MSS)
