"""The layout of a mesh that runs, and how it grows and shrinks: nobody is moved for beauty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.policy.place import Layout, traffic

PARTS: Final = {mesh_pb2.ROLE_DRIVER: "drivers", mesh_pb2.ROLE_STACK: "stacks", mesh_pb2.ROLE_APP: "apps"}
Roles = Mapping[int, "mesh_pb2.Role.ValueType"]


def layout(roles: Roles) -> Layout:
    """Return the layout of tiles given by number."""
    of = {part: tuple(sorted(tile for tile, has in roles.items() if has == role)) for role, part in PARTS.items()}
    return Layout(**of)


def best_to_join(
    width: int, height: int, roles: Roles, role: mesh_pb2.Role.ValueType, candidates: Iterable[int]
) -> int:
    """Return which of the candidates is best for the role, given what the others do; of equals the lowest."""
    return min(candidates, key=lambda tile: (_cost(width, height, {**roles, tile: role}), tile))


def best_to_leave(width: int, height: int, roles: Roles, candidates: Iterable[int]) -> int:
    """Return without which of the candidates the others are placed best; of equals the highest."""

    def without(tile: int) -> tuple[float, int]:
        return _cost(width, height, {other: role for other, role in roles.items() if other != tile}), -tile

    return min(candidates, key=without)


def _cost(width: int, height: int, roles: Roles) -> float:
    return traffic(width, height, layout(roles)).word_hops
