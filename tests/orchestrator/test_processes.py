from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.processes import MeshProcess, parse_argv


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["python", "-P", "-m", "dlibos_node", "--dir", "/r/m", "--tile", "3"], ("dlibos_node", "/r/m", 3, 0)),
        (
            ["python", "-m", "dlibos_node", "--dir", "/r/m", "--tile", "3", "--incarnation", "17", "", ""],
            ("dlibos_node", "/r/m", 3, 17),
        ),
        (
            ["python", "-m", "dlibos_node.nursery", "--dir", "/r/m", "--tile", "...", "--incarnation", "....."],
            ("dlibos_node.nursery", "/r/m", None, 0),
        ),
        (
            ["python", "-m", "dlibos_orchestrator.runtime.keeper", "--dir", "/r/m", "--ready-fd", "4"],
            ("dlibos_orchestrator.runtime.keeper", "/r/m", None, 0),
        ),
        (["python", "-m", "dlibos_node_extra", "--dir", "/r/m"], None),
        (["vim", "dlibos_node", "--dir", "/r/m"], None),
        (["python", "-m", "dlibos_node", "--dir"], None),
        (["grep", "-m"], None),
        ([], None),
    ],
)
def test_only_our_modules_with_a_directory_are_a_meshs(argv: list[str], expected: tuple[object, ...] | None) -> None:
    found = parse_argv(7, argv)
    assert (found[1:] if found else None) == expected


@pytest.fixture
def directory(runtime_directory: Path, stub_tiles: Callable[[str], None]) -> Path:
    del stub_tiles
    path = runtime_directory / "m"
    (path / "status").mkdir(parents=True)
    return path


def start(directory: Path, tile: int) -> int:
    return processes.spawn(processes.TILE_MODULE, directory, ["--tile", str(tile)], directory / f"{tile}.log")


def test_a_process_is_found_at_once_by_its_very_directory_and_ended(directory: Path) -> None:
    pid = start(directory, 5)
    assert processes.scan(directory) == [MeshProcess(pid, "dlibos_node", str(directory), 5)]
    assert processes.scan(directory.parent) == []
    assert os.getsid(pid) == pid, "it must outlive the terminal"
    assert processes.stop_all(directory) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_child_inherits_what_it_is_given_and_nothing_else(directory: Path) -> None:
    given, kept = os.memfd_create("given"), os.memfd_create("kept")
    log = directory / "0.log"
    pid = processes.spawn(processes.TILE_MODULE, directory, ["--tile", "0"], log, [given])
    other = start(directory, 1)
    assert Path(f"/proc/{pid}/fd/{given}").readlink() == Path(f"/proc/self/fd/{given}").readlink()
    for child in (pid, other):
        names = [str(entry.readlink()) for entry in Path(f"/proc/{child}/fd").iterdir()]
        assert not [name for name in names if "memfd:kept" in name or ("memfd:given" in name and child == other)]
    assert not os.get_inheritable(given)
    os.close(given)
    os.close(kept)
    processes.stop_all(directory)


def test_one_that_ignores_sigterm_is_killed(
    directory: Path, stub_tiles: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_tiles("stubborn")
    pid = start(directory, 0)
    status = directory / "status" / "0" / "status.json"
    while not status.exists():
        assert not processes.reap(pid)
    monkeypatch.setattr(processes, "GRACE", 0.2)
    assert processes.stop_all(directory) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_stopped_process_is_ended_too(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = start(directory, 0)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(processes, "GRACE", 0.2)
    assert processes.stop_all(directory) == []


def test_figures_of_a_process_and_of_none() -> None:
    assert processes.resident_bytes(os.getpid()) > 1 << 20
    assert processes.cpu_seconds(os.getpid()) > 0
    assert processes.resident_bytes(1 << 30) == 0
    assert processes.cpu_seconds(1 << 30) == 0
