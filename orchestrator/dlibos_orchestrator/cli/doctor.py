"""Not written yet."""

from dlibos_orchestrator.cli.parser import Subparsers

NAME = "doctor"


def add(subparsers: Subparsers) -> None:
    """Add nothing yet."""
