"""What the orchestrator may do next. One action is done, then the world is looked at again."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from dlibos.control.v1 import mesh_pb2


class Write(NamedTuple):
    """Make this the desired state: write it down, then tell every tile. Its epoch is one more than before."""

    mesh: mesh_pb2.Mesh
    why: str


class Start(NamedTuple):
    """Start a process for this tile, as the mesh that is written down describes it."""

    tile: int
    why: str


class Kill(NamedTuple):
    """End the tile's process at once."""

    tile: int
    why: str


class Wait(NamedTuple):
    """Do nothing until something new is observed, or until then (monotonic seconds; None: only by observation)."""

    why: str
    until: float | None = None


Action: TypeAlias = Write | Start | Kill | Wait

SETTLED = "the mesh is as the spec wants it"
"""Why a Wait comes when nothing is left to do."""
