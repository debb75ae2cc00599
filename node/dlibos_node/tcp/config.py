"""The settings of a TCP connection. One object serves all connections of a stack; times are microseconds."""

from __future__ import annotations

from typing import Final

MILLISECOND: Final = 1_000
SECOND: Final = 1_000_000

# RFC 9293 section 3.7.1: the MSS of a peer that states none.
DEFAULT_PEER_MSS: Final = 536
# Not in an RFC: a peer that states less costs more in headers than it gets in data. Linux's TCP_MIN_SND_MSS.
MIN_MSS: Final = 48
MAX_WINDOW: Final = 0xFFFF


class TcpConfig:
    """Settings, each with the default that its comment explains."""

    __slots__ = (
        "delayed_ack",
        "gso_max",
        "max_held_spans",
        "mss",
        "nodelay",
        "receive_buffer",
        "retries",
        "send_buffer",
        "syn_retries",
        "time_wait",
        "window_scale",
    )

    def __init__(
        self,
        *,
        # Largest payload of one segment: an Ethernet MTU of 1500 less 40 bytes of headers.
        mss: int = 1460,
        # Bytes that may be received and not yet consumed; the window is never larger.
        receive_buffer: int = 1 << 20,
        # Bytes that may be queued and not yet acknowledged before `Connection.send_room` says stop.
        send_buffer: int = 1 << 20,
        # Payload of the largest segment given to a device that cuts it (TSO); 0: the device does not.
        gso_max: int = 65_000,
        # Out-of-order spans held at most: many tiny segments must not pin the receive buffers of everybody.
        max_held_spans: int = 256,
        # False: Nagle's algorithm. A server that writes whole responses only loses time by it.
        nodelay: bool = True,
        # RFC 9293 section 3.8.6.3 allows up to 500 ms; 40 ms is Linux's lower value.
        delayed_ack: int = 40 * MILLISECOND,
        # Retransmissions of one segment before giving up; Linux's tcp_retries2, about 15 minutes.
        retries: int = 15,
        # Retransmissions of a SYN or SYN-ACK; Linux's tcp_synack_retries, about a minute.
        syn_retries: int = 5,
        # Twice the maximum segment life-time. RFC 9293 says 4 minutes, Linux and everybody else one.
        time_wait: int = 60 * SECOND,
    ) -> None:
        self.mss: Final = mss
        self.receive_buffer: Final = receive_buffer
        self.send_buffer: Final = send_buffer
        self.gso_max: Final = gso_max
        self.max_held_spans: Final = max_held_spans
        self.nodelay: Final = nodelay
        self.delayed_ack: Final = delayed_ack
        self.retries: Final = retries
        self.syn_retries: Final = syn_retries
        self.time_wait: Final = time_wait
        self.window_scale: Final = scale_for(receive_buffer)


def scale_for(window: int) -> int:
    """Return the smallest shift with which a 16-bit field can state `window` bytes (RFC 7323 section 2.3)."""
    scale = 0
    while scale < 14 and (MAX_WINDOW << scale) < window:
        scale += 1
    return scale
