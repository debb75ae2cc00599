"""Why a message from another tile was refused: counted and answered, never followed, and never an exception."""

from __future__ import annotations

import enum
from typing import Final


class Fault(enum.Enum):
    """A breach of protection (DESIGN section 4); the value is the metric's label."""

    PARTITION = "foreign_partition"  # the sender does not own it, or this tile is not entitled to read it
    BOUNDS = "out_of_bounds"  # the span does not lie inside one buffer
    GENERATION = "stale_generation"  # the buffer has been given out anew since
    HOLDER = "not_the_holder"  # a release by a tile that holds no lease
    CONNECTION = "not_the_owner"  # a command on a connection of another tile
    EXCESS = "more_than_there_is"  # more consumed, acknowledged or finished than was ever outstanding
    ROLE = "wrong_role"  # a message that a tile of this role never sends
    PORT = "port_of_another_domain"
    GONE = "memory_gone"  # its owner's process has ended: no breach
    BUCKET = "bucket_of_another"
    STATE = "impossible_state"  # a connection to adopt that cannot be, or is here already


CODES: Final = {fault: number for number, fault in enumerate(Fault, 1)}
"""The word a FAULT message carries."""
