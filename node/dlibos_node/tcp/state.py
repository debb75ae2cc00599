"""The states of a connection (RFC 9293 section 3.3.2) and the table of its transitions. Read this before connection.py.

A connection object begins in SYN_SENT (active open) or SYN_RCVD (passive open: LISTEN belongs to the stack, which makes
the object when the SYN arrives). From then on six things move it, the inputs below; each is one call of `after`:

    SYN        a SYN without an ACK crosses ours (simultaneous open)
    OPENED     our SYN is acknowledged and the peer's SYN is known
    CLOSE      the application sends no more. The FIN itself goes out behind what is still queued, so that FIN_WAIT_1
               and LAST_ACK include the time in which our last bytes wait for the peer's window (as in BSD and Linux)
    FIN        the peer's FIN is next in sequence
    FIN_ACKED  our FIN is acknowledged
    ABORT      RST came or goes, or we gave up waiting

The close before the connection is open is remembered and becomes an input when it opens (`closing` in tcb.py): bytes
that were queued with the connect still reach the peer. RFC 9293 3.10.4 drops them in SYN_SENT.

An input that cannot occur in a state leaves it where it is; the test of this module shows that the table is total.
"""

from __future__ import annotations

from typing import Final

CLOSED: Final = 0
SYN_SENT: Final = 1
SYN_RCVD: Final = 2
ESTABLISHED: Final = 3
CLOSE_WAIT: Final = 4
FIN_WAIT_1: Final = 5
FIN_WAIT_2: Final = 6
CLOSING: Final = 7
LAST_ACK: Final = 8
TIME_WAIT: Final = 9

NAMES: Final = (
    "CLOSED",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
)

SYN: Final = 0
OPENED: Final = 1
CLOSE: Final = 2
FIN: Final = 3
FIN_ACKED: Final = 4
ABORT: Final = 5

INPUTS: Final = ("SYN", "OPENED", "CLOSE", "FIN", "FIN_ACKED", "ABORT")

TABLE: Final = (
    # SYN       OPENED       CLOSE        FIN         FIN_ACKED   ABORT
    (CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED),
    (SYN_RCVD, ESTABLISHED, SYN_SENT, SYN_SENT, SYN_SENT, CLOSED),
    (SYN_RCVD, ESTABLISHED, SYN_RCVD, SYN_RCVD, SYN_RCVD, CLOSED),
    (ESTABLISHED, ESTABLISHED, FIN_WAIT_1, CLOSE_WAIT, ESTABLISHED, CLOSED),
    (CLOSE_WAIT, CLOSE_WAIT, LAST_ACK, CLOSE_WAIT, CLOSE_WAIT, CLOSED),
    (FIN_WAIT_1, FIN_WAIT_1, FIN_WAIT_1, CLOSING, FIN_WAIT_2, CLOSED),
    (FIN_WAIT_2, FIN_WAIT_2, FIN_WAIT_2, TIME_WAIT, FIN_WAIT_2, CLOSED),
    (CLOSING, CLOSING, CLOSING, CLOSING, TIME_WAIT, CLOSED),
    (LAST_ACK, LAST_ACK, LAST_ACK, LAST_ACK, CLOSED, CLOSED),
    (TIME_WAIT, TIME_WAIT, TIME_WAIT, TIME_WAIT, TIME_WAIT, CLOSED),
)


def after(state: int, happened: int) -> int:
    """Return the state that input `happened` leads to from `state`."""
    return TABLE[state][happened]


def may_send(state: int) -> bool:
    """May data and FIN (again) be sent in this state?"""
    return ESTABLISHED <= state <= LAST_ACK and state != FIN_WAIT_2


def may_receive(state: int) -> bool:
    """May the peer still send data: is its FIN yet to come?"""
    return state in (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2)
