"""The argument parser of all commands: a usage error is one line that names the next step."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable
from typing import NoReturn, TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong in one line and does not guess at shortened flags."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})  # type: ignore[arg-type]  # argparse's own keywords

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        print(f"{self.prog}: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'root'?", or the list of what is known when nothing is near."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(choices)}"
