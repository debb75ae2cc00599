"""The demonstration: up, a download, many connections, a short load, down; a line for each, exit code to match."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.demo import steps
from dlibos_orchestrator.demo.load import LoadResult
from dlibos_orchestrator.demo.steps import Place, StepFailedError
from dlibos_orchestrator.model.options import MeshOptions, Published
from dlibos_orchestrator.output import mebibytes, paint, print_table
from dlibos_orchestrator.runtime import local, processes
from dlibos_orchestrator.runtime.directory import mesh_directory
from dlibos_orchestrator.runtime.observe import TileRow, nic_name, observe

NIC_WORDS: Final = {"tap": "kernel TAP device in a network namespace", "user": "user-mode NIC"}
START_SECONDS: Final = 30.0


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
    print("all steps passed" if passed else "at least one step failed")
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
    """Take every step, also after one that failed; tell whether all passed."""
    mesh = mesh_directory(options.name).read_mesh()
    tap = mesh.nic.kind == mesh_pb2.NIC_KIND_TAP
    place = Place(options.name, tap, local.reachable_address(mesh), port, root)
    outcomes = [
        _step(f"{steps.FILE_BYTES // 10**6} MB download", partial(steps.download, place)),
        _step(f"{steps.CONNECTIONS} connections", partial(steps.connections, place)),
        _step_load(place),
    ]
    return all(outcomes)


def _step(name: str, step: Callable[[], str]) -> bool:
    try:
        _line("ok", name, step())
    except StepFailedError as error:
        _line("failed", name, str(error))
        return False
    return True


def _step_load(place: Place) -> bool:
    """Run the load and print what it cost each tile."""
    before = _cpu(rows := observe(mesh_directory(place.name)))
    results: list[LoadResult] = []
    passed = _step(f"{steps.LOAD_SECONDS} s of load", partial(steps.load, place, results))
    spent = [after - start for start, after in zip(before, _cpu(rows), strict=True)]
    if results:
        _print_cost(observe(mesh_directory(place.name)), spent, results[0].requests)
    return passed


def _cpu(rows: Sequence[TileRow]) -> list[float]:
    return [processes.cpu_seconds(row.pid) for row in rows]


def _print_cost(rows: Sequence[TileRow], seconds: Sequence[float], requests: int) -> None:
    table = [
        (str(row.tile), row.role, row.state, f"{cpu / max(requests, 1) * 1e6:.1f}", mebibytes(row.rss_bytes))
        for row, cpu in zip(rows, seconds, strict=True)
    ]
    print()
    print_table(("TILE", "ROLE", "STATE", "CPU us/REQUEST", "RSS"), table)
    print()


def _line(state: str, name: str, detail: str) -> None:
    print(f"{paint(state)}{' ' * (6 - len(state))}  {name:16}  {detail}", flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
