"""What became of one hardening mechanism in this process."""

from __future__ import annotations

from typing import Final, NamedTuple

ENFORCED: Final = "enforced"
NOT_OFFERED: Final = "not offered"


class Outcome(NamedTuple):
    """`state` is ENFORCED or NOT_OFFERED; `detail` says what holds now, or why nothing does; `fix` how to get it."""

    mechanism: str
    state: str
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.mechanism}: {self.state}: {self.detail}"
