"""Puts a profile in place: once, in one go, while the process has a single thread.

One moment suffices because a tile opens what needs more before it: its metrics port, its partition, its TAP queue or
published ports, its capture file. All that comes from outside the mesh's own configuration comes after it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from dlibos_node.errors import HardeningError
from dlibos_node.hardening import landlock, seccomp
from dlibos_node.hardening.capabilities import drop_capabilities, forbid_new_privileges, hide_memory
from dlibos_node.hardening.limits import forbid_core_files
from dlibos_node.hardening.outcome import Outcome
from dlibos_node.hardening.profile import Profile

log: Final = logging.getLogger(__name__)


def harden(profile: Profile) -> list[Outcome]:
    """Give up all that `profile` does not name; return what became of each mechanism.

    Raises HardeningError when a mechanism this kernel offers fails, with the next step.
    """
    _require_one_thread()
    try:
        outcomes = [
            forbid_core_files(),
            drop_capabilities(),
            forbid_new_privileges(),
            hide_memory(),
            landlock.restrict(profile.rules),
            seccomp.install(profile.inet, profile.queue),  # last: it takes away what the others need
        ]
    except OSError as error:
        raise HardeningError(f"hardening of a {profile.role} tile failed: {error}: see `dlibos doctor`") from error
    log.info("hardened as %s: %s", profile.role, ", ".join(f"{one.mechanism} {one.state}" for one in outcomes))
    return outcomes


def _require_one_thread() -> None:
    """Capabilities and Landlock bind the calling thread and its children only: others would stay as they are."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise HardeningError(f"{threads} threads run before the tile is hardened: publish addresses, not host names")
