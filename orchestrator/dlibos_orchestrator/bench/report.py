"""The result of the web benchmark as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dlibos_orchestrator.bench.page import PAGE_BYTES
from dlibos_orchestrator.bench.summary import ALL_TILES, RATIO, Comparison, ServerSummary, Spread, TileCost
from dlibos_orchestrator.bench.web import Setting, WebPlan, WebResult
from dlibos_orchestrator.output import print_table

SPEED: Final = ("CONNECTIONS", "MESH req/s", "NGINX req/s", "RATIO", "MESH p50", "p99", "NGINX p50", "p99", "ERRORS")
COST: Final = ("CONNECTIONS", "PROCESS", "CPU us/REQUEST", "MESSAGES/REQUEST", "MEAN BATCH", "HOPS/REQUEST")


def print_report(result: WebResult) -> None:
    """Print what was compared, the two tables, and how the objectives were met."""
    print(heading(result.setting, result.plan))
    print()
    print_table(SPEED, [_speed(one) for one in result.comparisons])
    print()
    print_table(COST, [row for one in result.comparisons for row in _costs(one)])
    if result.plan.objectives:
        print()
        print_table(("CONNECTIONS", "WANTED", "REACHED", "OBJECTIVE"), _objectives(result))


def heading(setting: Setting, plan: WebPlan) -> str:
    """Return the lines that say what the figures hold for."""
    mesh, versions = setting.mesh, setting.versions
    return "\n".join((
        f"mesh    {mesh.width}x{mesh.height}: {mesh.driver} driver, {mesh.stack} stack, {mesh.app} app; core: "
        f"{_core(setting)}; dlibos {versions['dlibos']}, Python {versions['python']}, grpcio {versions['grpcio']}",
        f"nginx   {versions['nginx']}, one worker, over a veth pair",
        f"client  {versions['wrk']}, one thread, in the mesh's network namespace for both; page of {PAGE_BYTES} bytes",
        f"machine {setting.cpus} CPUs, shared by client and servers; {setting.cpu_model}; Linux {versions['kernel']}; "
        f"load average {setting.load_average:.1f} before",
        f"rounds  {plan.rounds} of {plan.seconds} s, interleaved; median (min-max); ratios are paired within a round",
    ))  # fmt: skip


def as_json(result: WebResult) -> dict[str, Any]:
    """Return everything, the raw rounds included. Times in seconds unless the key says us."""
    setting, plan = result.setting, result.plan
    return {
        "benchmark": "web",
        "versions": setting.versions,
        "machine": {"cpus": setting.cpus, "model": setting.cpu_model, "load_average": setting.load_average},
        "mesh": _mesh(setting),
        "page_bytes": PAGE_BYTES,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "errors": result.errors,
        "results": [_comparison(one) for one in result.comparisons],
        "objectives": [
            {**one._asdict(), "reached": one.reached(result.comparisons), "met": one.met(result.comparisons)}
            for one in plan.objectives
        ],
        "legs": [
            {**leg._asdict(), "load": leg.load._asdict(), "tiles": [use._asdict() for use in leg.tiles]}
            for leg in result.legs
        ],
    }


def _mesh(setting: Setting) -> dict[str, Any]:
    keys = ("tile", "x", "y", "role", "offloads", "compiled", "rss_bytes")
    tiles = [{key: getattr(row, key) for key in keys} for row in setting.rows]
    return {"width": setting.mesh.width, "height": setting.mesh.height, "core": _core(setting), "tiles": tiles}


def _core(setting: Setting) -> str:
    return "compiled" if setting.compiled else "pure Python"


def _comparison(one: Comparison) -> dict[str, Any]:
    *tiles, total = (cost._asdict() for cost in one.tiles)
    del total["tile"], total["role"]
    return {
        "connections": one.connections,
        "ratio": one.ratio._asdict(),
        "mesh": _server(one.mesh),
        "nginx": _server(one.nginx),
        "tiles": tiles,
        "all_tiles": total,
    }


def _server(summary: ServerSummary) -> dict[str, Any]:
    return {**summary._asdict(), "requests_per_second": summary.requests_per_second._asdict()}


def _speed(one: Comparison) -> tuple[str, ...]:
    return (
        str(one.connections),
        _rate(one.mesh.requests_per_second),
        _rate(one.nginx.requests_per_second),
        f"{one.ratio.median:.2f} ({one.ratio.low:.2f}-{one.ratio.high:.2f})",
        *(latency(seconds) for summary in (one.mesh, one.nginx) for seconds in (summary.p50, summary.p99)),
        str(one.mesh.errors + one.nginx.errors),
    )


def _rate(rate: Spread) -> str:
    return f"{rate.median:,.0f} ({rate.low:,.0f}-{rate.high:,.0f})"


def latency(seconds: float) -> str:
    """Return "31 us", "1.75 ms" or "2.10 s"."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _costs(one: Comparison) -> list[tuple[str, ...]]:
    others = (
        ("nginx", one.nginx.cpu_us_per_request),
        ("wrk, on the mesh", one.mesh.client_cpu_us_per_request),
        ("wrk, on nginx", one.nginx.client_cpu_us_per_request),
    )
    plain = [(name, f"{cpu:.1f}", "-", "-", "-") for name, cpu in others]
    return [(str(one.connections), *cells) for cells in (*map(_cost, one.tiles), *plain)]


def _cost(cost: TileCost) -> tuple[str, ...]:
    return (
        "all tiles" if cost.tile == ALL_TILES else f"tile {cost.tile}, {cost.role}",
        f"{cost.cpu_us_per_request:.1f}",
        f"{cost.messages_per_request:.2f}",
        f"{cost.mean_batch:.1f}",
        f"{cost.hops_per_request:.2f}",
    )


def figure(name: str, value: float) -> str:
    """Return a ratio or a latency with its name."""
    return f"{name} {value:.2f}" if name == RATIO else f"{name} {latency(value)}"


def _objectives(result: WebResult) -> Sequence[tuple[str, ...]]:
    return [
        (
            str(one.connections),
            figure(one.figure, one.bar),
            figure(one.figure, one.reached(result.comparisons)),
            "met" if one.met(result.comparisons) else "missed",
        )
        for one in result.plan.objectives
    ]
