"""What a process of a mesh said last: most often, why it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Final

LAST_WORDS: Final = 4096  # bytes of a log that are searched for its last line


def last_words(log: Path) -> str:
    """Return the last line of a log that says something, "" if none does."""
    try:
        lines = log.read_bytes()[-LAST_WORDS:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
