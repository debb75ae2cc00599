"""What can go wrong outside the tiles, by situation. Every message is one line: what failed, where, the next step."""

from __future__ import annotations


class OrchestratorError(Exception):
    """Base of all errors this package raises on purpose."""

    exit_code = 1


class UsageError(OrchestratorError):
    """What was asked for cannot be: a wrong flag, value or key."""

    exit_code = 2


class MachineError(OrchestratorError):
    """The machine lacks or refuses what is needed: a port, a device, a privilege, a program."""


class MeshStateError(OrchestratorError):
    """The mesh is not in the state the command needs."""


class StartError(OrchestratorError):
    """A process of the mesh did not become ready; everything was taken down again."""
