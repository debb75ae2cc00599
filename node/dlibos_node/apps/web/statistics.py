"""What the web server counted. Plain integers: whoever wants metrics reads them from outside."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Refusal(Enum):
    """Why a request was refused before any resource saw it; the value starts with the status of the answer."""

    # Two reasons may share a status, and enum members of equal value would be aliases of one another.
    MALFORMED = (400, "malformed")
    INCOMPLETE = (400, "incomplete")
    HOST = (400, "host")
    FRAMING = (400, "framing")
    TIMEOUT = (408, "timeout")
    BODY_TOO_LARGE = (413, "body_too_large")
    TARGET_TOO_LONG = (414, "target_too_long")
    EXPECTATION = (417, "expectation")
    HEAD_TOO_LARGE = (431, "head_too_large")
    METHOD = (501, "method")
    CODING = (501, "coding")
    VERSION = (505, "version")

    @property
    def status(self) -> int:
        """The status code of the answer."""
        return self.value[0]


class WebStatistics:
    """Totals since the start; `open` is the number of connections now."""

    __slots__ = ("accepted", "bytes_received", "bytes_sent", "open", "refusals", "requests", "responses", "timeouts")

    def __init__(self) -> None:
        self.accepted = 0
        self.open = 0
        self.requests = 0
        """Requests whose head was understood."""
        self.responses: Final = [0] * 6
        """Final responses by the first digit of their status; the first two places stay 0."""
        self.bytes_received = 0
        self.bytes_sent = 0
        """Bytes handed to the connection, acknowledged or not."""
        self.timeouts = 0
        """Connections ended because nothing moved on them."""
        self.refusals: Final = dict.fromkeys(Refusal, 0)
