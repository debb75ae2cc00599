"""A run of `bench protection` with round figures: ten rounds, 64 connections, protection costs 1 % of throughput."""

from __future__ import annotations

from typing import Any

from dlibos_orchestrator.bench import contrast, parts
from dlibos_orchestrator.bench.leg import FUSED, NGINX, PROTECTED, UNPROTECTED, Leg, TileUse
from dlibos_orchestrator.bench.protection import ProtectionPlan, ProtectionResult
from dlibos_orchestrator.bench.web import Setting
from dlibos_orchestrator.demo.load import LoadResult
from dlibos_orchestrator.model.options import MeshOptions
from tests.orchestrator.bench.legs import row

RATES = {PROTECTED: 19_800.0, UNPROTECTED: 20_000.0, FUSED: 40_000.0, NGINX: 50_000.0}
CPU = {PROTECTED: 51e-6, UNPROTECTED: 50e-6, FUSED: 20e-6, NGINX: 10e-6}  # seconds per request
ROLES = {PROTECTED: ("driver", "stack", "app"), UNPROTECTED: ("driver", "stack", "app"), FUSED: ("fused",), NGINX: ()}


def leg(number: int, server: str, connections: int = 64, errors: int = 0) -> Leg:
    """Every round is faster or slower as a whole; in odd rounds protection costs 0.5 %, in even ones 1.5 %."""
    shaken = 1 + 0.1 * (number % 3)
    odd = {PROTECTED: 1.005 if number % 2 else 0.995}.get(server, 1.0)
    rate = RATES[server] * shaken * odd
    load = LoadResult(int(rate), rate, p50=connections / rate, p99=2 * connections / rate, errors=errors)
    spent, roles = CPU[server] * load.requests, ROLES[server]
    tiles = tuple(TileUse(n, role, spent / len(roles), 1.0, 1.0, 1.0) for n, role in enumerate(roles))
    return Leg(number, server, connections, load, spent, 0.5, tiles)


def ten_rounds(errors: int = 0) -> list[Leg]:
    return [leg(number, server, errors=errors) for number in range(1, 11) for server in RATES]


def raw_parts(**differences: float) -> dict[str, Any]:
    """What the measuring process prints; `differences` by step, 0.5 us each unless given."""
    steps = {"mapping": 0.0, "leases": 0.2, "checks": 0.5, "whole": 0.7, **differences}
    rounds = []
    for number in range(5):
        base = 20.0 + number + 0.01 * (number % 2)
        one = {"bare": base, "mapped": base + steps["mapping"]}
        one["leased"] = one["mapped"] + steps["leases"]
        one["checked"] = one["leased"] + steps["checks"]
        one["unprotected"] = base - 0.02 * (number - 2)
        one["protected"] = base + steps["whole"]
        one["fused"] = 15.0
        rounds.append(one)
    once = {name: {"protected": 0.3, "unprotected": 0.1} for name in ("make", "hand over")}
    calls = {"free": 1000.0, "filtered": 1150.0}
    return {"core": "compiled", "us_per_request": rounds, "mapping_ms": once, "readv_writev_ns": calls}


def result(errors: int = 0, objectives: tuple[contrast.Objective, ...] = ()) -> ProtectionResult:
    plan = ProtectionPlan(connections=(64,), rounds=10, seconds=2, seed=7, objectives=objectives)
    versions = dict.fromkeys(("dlibos", "python", "grpcio", "nginx", "wrk", "kernel"), "1.0")
    setting = Setting(MeshOptions(), [row(0, "driver")], versions, cpus=2, cpu_model="abacus", load_average=0.5)
    legs = ten_rounds(errors)
    answers = contrast.contrasts(legs, plan.connections, plan.seed)
    verdicts = contrast.verdicts(objectives, answers)
    summed = contrast.summaries(legs, plan.connections)
    return ProtectionResult(plan, setting, legs, summed, answers, parts.add_up(raw_parts()), verdicts)
