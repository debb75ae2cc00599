"""What a connection tells the stack: pairs of a kind and a detail, in the order in which they happened."""

from __future__ import annotations

from typing import Final

ESTABLISHED: Final = 0
"""The handshake is complete. Detail: None."""
DATA: Final = 1
"""The next bytes in order. Detail: Span, whose lease is now the receiver's."""
ACKED: Final = 2
"""The peer has acknowledged the next bytes of what was sent. Detail: their number."""
PEER_CLOSED: Final = 3
"""The peer sends no more; no DATA follows. Detail: None."""
CLOSED: Final = 4
"""The connection is over for the application; nothing follows. Detail: one of the reasons below."""

NAMES: Final = ("ESTABLISHED", "DATA", "ACKED", "PEER_CLOSED", "CLOSED")

NORMAL: Final = 0
"""Both sides sent FIN and ours was acknowledged."""
RESET: Final = 1
"""The peer sent RST, or the application aborted."""
TIMEOUT: Final = 2
"""The peer stopped answering."""
REFUSED: Final = 3
"""The peer answered our SYN with RST."""

REASONS: Final = ("NORMAL", "RESET", "TIMEOUT", "REFUSED")
