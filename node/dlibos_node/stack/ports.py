"""What a host needs from the tile around it: a way out for frames, a home for buffers, somebody to tell."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from dlibos_node.stack.flow import Flow
from dlibos_node.tcp.span import Span


class Drop(enum.Enum):
    """Why a received frame went no further; the value is the metric's label."""

    TRUNCATED = "truncated"
    NOT_FOR_US = "not_for_us"
    ETHERTYPE = "unknown_ethertype"
    IP_HEADER = "bad_ip_header"
    IP_CHECKSUM = "bad_ip_checksum"
    FRAGMENT = "fragment"
    PROTOCOL = "unknown_protocol"
    TCP_HEADER = "bad_tcp_header"
    TCP_CHECKSUM = "bad_tcp_checksum"
    ICMP = "icmp_not_answered"
    ARP = "bad_arp"
    NO_LISTENER = "no_listener"
    BACKLOG = "backlog_full"
    STRAY = "no_connection"
    MEMORY = "receive_buffers_short"
    TOO_LONG = "answer_too_long"
    NOT_LISTENING = "not_listening_yet"  # the port is an application's that has not come up yet
    MOVED_AWAY = "bucket_moved_away"
    KEPT_FULL = "bucket_not_here_and_too_many_kept"
    KEPT_LONG = "bucket_did_not_come"


class Port(Protocol):
    """The tile's way out; `route` is the driver tile a frame leaves by."""

    def way(self, route: int, key: int) -> int:
        """Return the driver tile a frame of flow `key` leaves by now: `route`, or another if that has gone."""

    def transmit(self, route: int, header: bytes, spans: Sequence[Span], gso_size: int) -> int:
        """Send one frame: `header` (Ethernet up to the end of the transport header), then the spans' bytes.

        Returns a ticket, larger than all before: `finished` tells when the spans' bytes are not read any more.

        A TCP header carries its pseudo-header's sum, as virtio's NEEDS_CSUM wants it: every device of ours completes
        it, or its reader does without. `gso_size` > 0 asks for cutting into segments with that much payload.
        """

    def finished(self, route: int, ticket: int) -> bool:
        """Whether the frame with that ticket has left by `route`, or never will."""

    def release(self, lease: int) -> None:
        """Give a received frame's buffer back. Called exactly once for each frame the host was given."""

    def short(self, lease: int) -> bool:
        """Whether this host holds so many buffers of the memory a frame lies in that others might go without."""


class Events(Protocol):
    """The tile's application side: told what happens to a flow, in order."""

    def connected(self, flow: Flow) -> None:
        """The handshake is done."""

    def received(self, flow: Flow, span: Span) -> None:
        """Payload in order; its lease ends with `Host.consumed`."""

    def sent(self, flow: Flow, count: int) -> None:
        """The peer acknowledged `count` more bytes. A retransmission of them may still be on its way out."""

    def peer_closed(self, flow: Flow) -> None:
        """The peer sent FIN."""

    def dead(self, flow: Flow, reason: int) -> None:
        """The flow ended (tcp.events reasons); nothing follows."""
