"""Which tile plays which role in a mesh that comes up: the best placement; idle tiles get the first free places.

In a fused mesh nothing travels: its tiles are placed row by row.
"""

from __future__ import annotations

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.policy.place import Counts, best_layout, coordinates

__all__ = ["coordinates", "counts_of", "place"]


def place(options: MeshOptions) -> dict[int, mesh_pb2.Role.ValueType]:
    """Return the role of each tile, by tile id (y * width + x), in ascending order."""
    if options.protection == "fused":
        busy = dict.fromkeys(range(options.driver), mesh_pb2.ROLE_FUSED)
    else:
        drivers, stacks, apps = best_layout(options.width, options.height, counts_of(options))
        busy = (
            dict.fromkeys(drivers, mesh_pb2.ROLE_DRIVER)
            | dict.fromkeys(stacks, mesh_pb2.ROLE_STACK)
            | dict.fromkeys(apps, mesh_pb2.ROLE_APP)
        )
    free = [tile for tile in range(options.width * options.height) if tile not in busy]
    return dict(sorted((busy | dict.fromkeys(free[: options.idle], mesh_pb2.ROLE_IDLE)).items()))


def counts_of(options: MeshOptions) -> Counts:
    """Return how many tiles of each role take part in the traffic."""
    return Counts(options.driver, options.stack, sum(domain.app for domain in options.domains))
