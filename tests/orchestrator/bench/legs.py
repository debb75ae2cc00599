"""Legs as a run would have them, with round figures."""

from __future__ import annotations

from dlibos_orchestrator.bench.leg import MESH, NGINX, Leg, TileUse
from dlibos_orchestrator.bench.summary import Objective, compare
from dlibos_orchestrator.bench.web import Setting, WebPlan, WebResult
from dlibos_orchestrator.demo.load import LoadResult
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime.observe import READY, TileRow

ROLES = ("driver", "stack", "app")


def load(per_second: float, errors: int = 0) -> LoadResult:
    return LoadResult(int(per_second * 2), per_second, p50=64 / per_second, p99=128 / per_second, errors=errors)


def uses(requests: int) -> tuple[TileUse, ...]:
    """A driver, a stack and an app tile: 10, 20, 30 us, and 1, 2, 3 messages in batches of 4, for each request."""
    return tuple(
        TileUse(tile, role, 1e-5 * (tile + 1) * requests, n := (tile + 1.0) * requests, n / 4, 2 * n)
        for tile, role in enumerate(ROLES)
    )


def mesh_leg(number: int, per_second: float, connections: int = 64, errors: int = 0) -> Leg:
    result = load(per_second, errors)
    tiles = uses(result.requests)
    return Leg(number, MESH, connections, result, sum(use.cpu_seconds for use in tiles), 0.5, tiles)


def nginx_leg(number: int, per_second: float, connections: int = 64) -> Leg:
    return Leg(number, NGINX, connections, load(per_second), 1.0, 0.5)


def three_rounds(errors: int = 0) -> list[Leg]:
    """Ratios 0.1, 0.4 and 0.2, with the order of the servers changing."""
    return [
        mesh_leg(1, 1000), nginx_leg(1, 10_000),
        nginx_leg(2, 5_000), mesh_leg(2, 2000),
        mesh_leg(3, 3000, errors=errors), nginx_leg(3, 15_000),
    ]  # fmt: skip


def row(tile: int, role: str, pid: int = 1, metrics_port: int = 9000) -> TileRow:
    return TileRow(tile, tile, 0, role, READY, pid, 1 << 20, metrics_port, "", (), True, "", (), 0)


def web_result(errors: int = 0, objectives: tuple[Objective, ...] = ()) -> WebResult:
    legs = three_rounds(errors)
    plan = WebPlan(connections=(64,), rounds=3, seconds=2, objectives=objectives)
    versions = dict.fromkeys(("dlibos", "python", "grpcio", "nginx", "wrk", "kernel"), "1.0")
    rows = [row(tile, role) for tile, role in enumerate(ROLES)]
    setting = Setting(MeshOptions(), rows, versions, cpus=2, cpu_model="abacus", load_average=0.5)
    return WebResult(plan, setting, legs, [compare(legs, 64)])
