"""Not written yet."""

from dlibos_orchestrator.cli.parser import Subparsers

NAME = "completion"


def add(subparsers: Subparsers) -> None:
    """Add nothing yet."""
