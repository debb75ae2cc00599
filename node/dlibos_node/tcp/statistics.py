"""What the connections of one stack count together, drops by reason first. Plain ints; an exporter reads them."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Drop(IntEnum):
    """Why a segment, or its payload, was not used."""

    DUPLICATE = 0
    """Every byte of it had been received before."""
    OUT_OF_WINDOW = 1
    """It lies outside the receive window."""
    HELD_FULL = 2
    """Out of order, and as many bytes or spans wait already as the configuration allows."""
    MEMORY_PRESSURE = 3
    """Out of order, given up to get its buffer back."""
    BAD_ACK = 4
    """It acknowledges what was never sent, or what was acknowledged long ago (RFC 5961 section 5.2)."""
    NO_ACK = 5
    """It carries no ACK where every segment must."""
    BAD_SYN = 6
    """SYN inside a connection (RFC 5961 section 4.2)."""
    BAD_RST = 7
    """RST that is not exactly next in sequence (RFC 5961 section 3.2)."""
    AFTER_CLOSE = 8
    """Payload behind the peer's FIN, or for a closed connection."""
    ON_SYN = 9
    """Payload on a SYN: it is sent again (no TCP Fast Open)."""
    SEND_CLOSED = 10
    """Given to `send` after `shutdown` or the end of the connection."""


class Statistics:
    """Counters of segments, except `drops`: one counter for each `Drop`."""

    __slots__ = (
        "challenge_acks",
        "drops",
        "fast_retransmits",
        "out_of_order",
        "retransmits",
        "timeouts",
        "window_probes",
    )

    def __init__(self) -> None:
        self.drops: list[int] = [0] * len(Drop)
        self.out_of_order = 0
        self.retransmits = 0
        self.fast_retransmits = 0
        self.timeouts = 0
        self.window_probes = 0
        self.challenge_acks = 0

    def dropped(self) -> dict[str, int]:
        """Return the drops by reason name, those that happened."""
        return {reason.name.lower(): self.drops[reason] for reason in Drop if self.drops[reason]}
