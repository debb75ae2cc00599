"""What a tile inherits from whoever started it, and must not keep: descriptors, and the right to leave core files."""

from __future__ import annotations

import os
import resource
from collections.abc import Collection
from pathlib import Path
from typing import Final

from dlibos_node.hardening.outcome import ENFORCED, Outcome

STANDARD: Final = (0, 1, 2)


def forbid_core_files() -> Outcome:
    """A core file would hold what the partitions hold."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return Outcome("core files", ENFORCED, "limit 0")


def close_inherited(allowed: Collection[int] = STANDARD) -> list[int]:
    """Close every open descriptor that is not in `allowed`; return those that were closed.

    Call it before the process opens anything of its own.
    """
    closed = []
    for descriptor in sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir()):
        if descriptor not in allowed and _close(descriptor):
            closed.append(descriptor)
    return closed


def _close(descriptor: int) -> bool:
    try:
        os.close(descriptor)
    except OSError:  # the descriptor that listed them
        return False
    return True
