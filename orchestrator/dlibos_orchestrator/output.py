"""What commands print: data on stdout as a table or JSON, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Final

COLORS: Final = {
    "ok": "32",
    "ready": "32",
    "warn": "33",
    "starting": "33",
    "draining": "33",
    "fail": "31",
    "failed": "31",
    "dead": "31",
}


def notice(line: str) -> None:
    """Tell the user something that is not the command's data."""
    print(f"dlibos: {line}", file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """Print data as JSON."""
    print(json.dumps(value, indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print data in columns; words of state are coloured on a terminal."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        # Padding is counted before the colour: escape sequences have no width.
        cells = [paint(cell) + " " * (width - len(cell)) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def paint(word: str) -> str:
    """Colour a word of state, where output is a terminal and NO_COLOR is not set (no-color.org)."""
    if word not in COLORS or os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return word
    return f"\x1b[{COLORS[word]}m{word}\x1b[0m"


def mebibytes(count: int) -> str:
    """Return bytes as "41 MiB", "-" for nothing."""
    return f"{count / 2**20:.0f} MiB" if count else "-"
