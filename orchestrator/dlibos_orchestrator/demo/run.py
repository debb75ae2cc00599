"""The demonstration: up, a download, many connections, a short load, down; a line for each, exit code to match."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.cli.output import mebibytes, paint, print_table
from dlibos_orchestrator.demo import steps
from dlibos_orchestrator.demo.steps import Place, StepFailedError
from dlibos_orchestrator.model.options import MeshOptions, Published
from dlibos_orchestrator.runtime import local, processes
from dlibos_orchestrator.runtime.directory import mesh_directory
from dlibos_orchestrator.runtime.observe import TileRow, nic_name, observe

NIC_WORDS: Final = {"tap": "kernel TAP device in a network namespace", "user": "user-mode NIC"}
START_SECONDS: Final = 30.0
T = TypeVar("T")


def demonstrate(nic: str) -> int:
    """Run the demonstration with `nic` as `--nic` has it; 0 if every step showed what it should."""
    with tempfile.TemporaryDirectory(prefix="dlibos-demo-") as folder:
        root = Path(folder) / "www"
        root.mkdir()
        (root / steps.FILE_NAME).write_bytes(secrets.token_bytes(steps.FILE_BYTES))
        port = _free_port()
        options = MeshOptions(
            name=f"demo-{os.getpid()}", root=root, publish=(Published("127.0.0.1", port, 80),), nic=nic
        )
        with _mesh(options):
            passed = _use(options, port, root)
    print("\nall steps passed" if passed else "\nat least one step failed")
    return int(not passed)


@contextmanager
def _mesh(options: MeshOptions) -> Iterator[None]:
    """Bring a mesh up, and down whatever happens."""
    started = time.perf_counter()
    local.up(options, START_SECONDS, lambda line: None)
    try:
        kind = nic_name(mesh_directory(options.name).read_mesh().nic.kind)
        print(f"DLibOS: 1 driver, 1 stack, 1 app tile; {NIC_WORDS[kind]}", flush=True)
        _line("ok", "mesh up", f"{time.perf_counter() - started:.2f} s")
        yield
    finally:
        started = time.perf_counter()
        local.down(options.name)
        _line("ok", "mesh down", f"{time.perf_counter() - started:.2f} s, no process and no file left")


def _use(options: MeshOptions, port: int, root: Path) -> bool:
    mesh = mesh_directory(options.name).read_mesh()
    tap = mesh.nic.kind == mesh_pb2.NIC_KIND_TAP
    place = Place(options.name, tap, local.reachable_address(mesh), port, root)
    outcomes = [
        _step(f"{steps.FILE_BYTES // 10**6} MB download", steps.download, place),
        _step(f"{steps.CONNECTIONS} connections", steps.connections, place),
        _step(f"{steps.LOAD_SECONDS} s of load", _measured_load, place),
    ]
    return all(outcomes)


def _step(name: str, step: Callable[[Place], str], place: Place) -> bool:
    try:
        _line("ok", name, step(place))
    except (StepFailedError, ValueError) as error:
        _line("failed", name, str(error))
        return False
    return True


def _measured_load(place: Place) -> str:
    """Run the load and print what it cost each tile."""
    before = _cpu(rows := observe(mesh_directory(place.name)))
    result, client = steps.load(place)
    after = _cpu(rows)
    if result.errors or not result.requests:
        raise StepFailedError(f"{result.errors} errors in {result.requests} requests by {client}")
    _print_cost(
        observe(mesh_directory(place.name)), [b - a for a, b in zip(before, after, strict=True)], result.requests
    )
    latency = f"p50 {result.p50 * 1e3:.2f} ms, p99 {result.p99 * 1e3:.2f} ms"
    return f"{result.per_second:,.0f} requests/s, {latency} ({client}, {steps.LOAD_CONNECTIONS} connections)"


def _cpu(rows: Sequence[TileRow]) -> list[float]:
    return [processes.cpu_seconds(row.pid) for row in rows]


def _print_cost(rows: Sequence[TileRow], seconds: Sequence[float], requests: int) -> None:
    print()
    table = [
        (str(row.tile), row.role, row.state, f"{cpu / requests * 1e6:.1f}", mebibytes(row.rss_bytes))
        for row, cpu in zip(rows, seconds, strict=True)
    ]
    print_table(("TILE", "ROLE", "STATE", "CPU us/REQUEST", "RSS"), table)
    print()


def _line(state: str, name: str, detail: str) -> None:
    print(f"{paint(state)}{' ' * (6 - len(state))}  {name:16}  {detail}", flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
