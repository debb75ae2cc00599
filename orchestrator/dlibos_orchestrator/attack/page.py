"""The pages of the two domains. The honest one's holds a secret, and so does what its clients send."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final, NamedTuple

CANARY: Final = "DLIBOS-CANARY-"
DIGITS: Final = 32
PAGE_BYTES: Final = 1500
HONEST_PORT: Final = 80
ATTACKER_PORT: Final = 81
NAME: Final = "page.html"


class Secrets(NamedTuple):
    """What nobody of the other domain may ever read: in the page, and in the requests."""

    page: str
    request: str

    @classmethod
    def draw(cls) -> Secrets:
        """Return new ones."""
        return cls(*(CANARY + secrets.token_hex(DIGITS // 2) for _ in range(2)))

    @property
    def body(self) -> bytes:
        """The honest page."""
        return f"<!doctype html>{self.page}".encode().ljust(PAGE_BYTES, b".")

    def write(self, root: Path) -> None:
        """Make the directory that the honest domain serves."""
        root.mkdir()
        (root / NAME).write_bytes(self.body)

    def among(self, read: object) -> bool:
        """Tell whether one of them is in what was read."""
        text = str(read)
        return self.page in text or self.request in text
