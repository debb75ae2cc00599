"""What is measured: a leg is one load on one server, with what it cost everyone who took part."""

from __future__ import annotations

from typing import Final, NamedTuple

from dlibos_orchestrator.demo.load import LoadResult

MESH: Final = "mesh"
NGINX: Final = "nginx"
# Meshes by their mode of protection (`dlibos bench protection`).
PROTECTED: Final = "protected"
UNPROTECTED: Final = "unprotected"
FUSED: Final = "fused"
MODES: Final = (PROTECTED, UNPROTECTED, FUSED)


class TileUse(NamedTuple):
    """What one tile did during a leg. NoC messages, their gRPC frames and hops are counted where they arrive."""

    tile: int
    role: str
    cpu_seconds: float
    messages: float
    frames: float
    hops: float


class Leg(NamedTuple):
    """One load. CPU in seconds; `tiles` is empty for nginx, whose CPU time is `server_cpu`."""

    round: int
    server: str
    connections: int
    load: LoadResult
    server_cpu: float
    client_cpu: float
    tiles: tuple[TileUse, ...] = ()
