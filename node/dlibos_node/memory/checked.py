"""How many checks a tile made on what others told it, by kind. Plain integers: they stand on the path of every message.

The kinds are those of DESIGN section 4 as far as they are looked at per message. The role of the sender costs nothing
beyond what dispatch does without protection too: each sender has its own table of what it may say.
"""

from __future__ import annotations


class Checked:
    """Checks made, whatever came of them."""

    __slots__ = ("connections", "counts", "descriptors", "leases", "roles")

    def __init__(self) -> None:
        self.descriptors = 0  # owner, bounds, generation of a buffer that a message names
        self.leases = 0  # generation and holder of a buffer that comes back
        self.connections = 0  # whether a connection is the sender's
        self.counts = 0  # not more than there is, of bytes or frames
        self.roles = 0  # whether a tile of the sender's role may say this

    def kinds(self) -> dict[str, int]:
        """Return the counts by the label of the kind."""
        return {
            "descriptor": self.descriptors,
            "lease": self.leases,
            "connection": self.connections,
            "count": self.counts,
            "role": self.roles,
        }
