"""Which tile plays which role: row-major ids, drivers first, then stacks, apps and idle tiles.

Drivers sit in the first row, as mPIPE sits at the edge of a TILE-Gx; a policy that weighs hops comes later.
"""

from __future__ import annotations

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model.options import MeshOptions


def place(options: MeshOptions) -> list[mesh_pb2.Role.ValueType]:
    """Return the role of each tile; the index is the tile id, y * width + x."""
    if options.protection == "fused":
        return [mesh_pb2.ROLE_FUSED] * options.driver + [mesh_pb2.ROLE_IDLE] * options.idle
    counts = (
        (mesh_pb2.ROLE_DRIVER, options.driver),
        (mesh_pb2.ROLE_STACK, options.stack),
        (mesh_pb2.ROLE_APP, sum(domain.app for domain in options.domains)),
        (mesh_pb2.ROLE_IDLE, options.idle),
    )
    return [role for role, count in counts for _ in range(count)]


def coordinates(tile: int, width: int) -> tuple[int, int]:
    """Return (x, y) of a tile id."""
    return tile % width, tile // width
