"""The runtime and the nursery, with stub tiles in place of real ones."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.errors import MeshStateError, StartError
from dlibos_orchestrator.model import credentials
from dlibos_orchestrator.model.desired import desired_mesh
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.model.spec import spec_of
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.nursery import ROOM, Nursery
from dlibos_orchestrator.runtime.tiles import Running, Runtime
from tests.support.keys import MESH_KEY

pytestmark = pytest.mark.usefixtures("stub_tiles")
INCARNATION = 1_700_000_000_000_000_000


@pytest.fixture
def directory(runtime_directory: Path) -> MeshDirectory:
    made = mesh_directory("m")
    assert made.path.parent == runtime_directory
    made.create()
    made.write_key(MESH_KEY)
    made.write_spec(spec_of(MeshOptions()))
    return made


@pytest.fixture
def mesh(directory: MeshDirectory) -> mesh_pb2.Mesh:
    return desired_mesh(MeshOptions(), mesh_pb2.NIC_KIND_USER, directory.path, "m-1")


@pytest.fixture
def runtime(directory: MeshDirectory) -> Iterator[Runtime]:
    made = Runtime(directory)
    yield made
    made.close()


def nursery_of(directory: MeshDirectory) -> int:
    return next(p.pid for p in processes.scan(directory.path) if p.module == processes.NURSERY_MODULE)


def spoke(directory: MeshDirectory, tile: int) -> str:
    """Wait for a stub tile to say what it is."""
    log = directory.log_file(f"tile-{tile}")
    while not log.read_text():
        time.sleep(0.001)
    return log.read_text()


def open_files(pid: int) -> list[str]:
    return [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def test_a_tile_is_a_process_of_its_own_with_nothing_of_the_nurserys(
    runtime: Runtime, directory: MeshDirectory, mesh: mesh_pb2.Mesh
) -> None:
    pid = runtime.start(mesh, 1, INCARNATION)
    assert runtime.running() == {1: Running(pid, INCARNATION)}
    assert spoke(directory, 1) == "stub tile 1\n"
    assert os.getsid(pid) == pid
    log = str(directory.log_file("tile-1"))
    assert sorted(open_files(pid)) == ["/dev/null", "/memfd:dlibos-credentials (deleted)", log, log]
    line = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert line.rstrip(b"\0").split(b"\0")[1:4] == [b"-P", b"-m", b"dlibos_node"]
    assert b"nursery" not in line


def test_a_tile_gets_its_own_credentials_or_none_in_a_mesh_without_protection(
    runtime: Runtime, directory: MeshDirectory, mesh: mesh_pb2.Mesh
) -> None:
    pid = runtime.start(mesh, 1, INCARNATION)
    spoke(directory, 1)
    held = [entry for entry in Path(f"/proc/{pid}/fd").iterdir() if "credentials" in str(entry.readlink())]
    assert [entry.read_bytes() for entry in held] == [credentials.of_tile(mesh, MESH_KEY, mesh.tiles[1])]
    mesh.protection = mesh_pb2.PROTECTION_UNPROTECTED
    pid = runtime.start(mesh, 2, INCARNATION)
    spoke(directory, 2)
    assert "/memfd:dlibos-credentials (deleted)" not in open_files(pid)


def test_a_tile_that_is_killed_is_gone_and_no_zombie_even_where_it_was_stopped(
    runtime: Runtime, mesh: mesh_pb2.Mesh
) -> None:
    pids = [runtime.start(mesh, tile, INCARNATION) for tile in (0, 1)]
    os.kill(pids[0], signal.SIGSTOP)
    runtime.kill(0)
    assert not Path(f"/proc/{pids[0]}").exists()
    assert runtime.running() == {1: Running(pids[1], INCARNATION)}
    runtime.kill(0)
    again = runtime.start(mesh, 0, INCARNATION + 1)
    assert runtime.running()[0] == Running(again, INCARNATION + 1)


def test_tiles_that_the_spec_calls_compromised_run_the_attackers_module(
    runtime: Runtime, directory: MeshDirectory, mesh: mesh_pb2.Mesh, tmp_path: Path
) -> None:
    package = tmp_path / "stub" / "dlibos_node"
    (package / "attack").mkdir()
    (package / "attack" / "__main__.py").write_bytes((package / "__main__.py").read_bytes())
    directory.write_spec(orchestrator_pb2.Spec(compromised=[1]))
    pids = {runtime.start(mesh, tile, INCARNATION): tile for tile in (0, 1)}
    lines = {tile: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[3] for pid, tile in pids.items()}
    assert lines == {0: b"dlibos_node", 1: b"dlibos_node.attack"}


def test_a_nursery_that_ended_or_sticks_is_replaced(
    runtime: Runtime, directory: MeshDirectory, mesh: mesh_pb2.Mesh
) -> None:
    first = runtime.start(mesh, 0, INCARNATION)
    processes.kill(nursery_of(directory))
    second = runtime.start(mesh, 1, INCARNATION)
    assert set(runtime.running().values()) == {Running(first, INCARNATION), Running(second, INCARNATION)}
    stuck = nursery_of(directory)
    os.kill(stuck, signal.SIGSTOP)
    assert runtime._nursery._socket is not None
    runtime._nursery._socket.settimeout(0.05)
    runtime.start(mesh, 2, INCARNATION)
    assert nursery_of(directory) != stuck
    assert set(runtime.running()) == {0, 1, 2}


def test_a_nursery_that_does_not_start_is_said_with_its_own_words(
    directory: MeshDirectory, mesh: mesh_pb2.Mesh, tmp_path: Path
) -> None:
    (tmp_path / "stub" / "dlibos_node" / "nursery.py").write_text("raise SystemExit('no memory left')")
    runtime = Runtime(directory)
    with pytest.raises(StartError, match="the nursery, which starts tiles, ended: no memory left"):
        runtime.start(mesh, 0, INCARNATION)
    assert runtime.running() == {}
    runtime.close()


def test_the_nursery_ends_with_its_owner_and_its_tiles_go_on(directory: MeshDirectory, mesh: mesh_pb2.Mesh) -> None:
    runtime = Runtime(directory)
    pid = runtime.start(mesh, 0, INCARNATION)
    nursery = nursery_of(directory)
    assert runtime._nursery._socket is not None
    runtime._nursery._socket.close()
    while not processes.reap(nursery):
        time.sleep(0.001)
    assert runtime.running() == {0: Running(pid, INCARNATION)}


def test_a_new_orchestrator_ends_the_nursery_of_the_one_before(directory: MeshDirectory, mesh: mesh_pb2.Mesh) -> None:
    before = Runtime(directory)
    pid = before.start(mesh, 0, INCARNATION)
    old = nursery_of(directory)
    now = Runtime(directory)
    assert nursery_of(directory) != old
    assert now.running() == {0: Running(pid, INCARNATION)}
    now.close()
    before.close()


def test_there_is_no_runtime_without_a_mesh_key(directory: MeshDirectory) -> None:
    directory.key_file.write_bytes(b"short")
    with pytest.raises(MeshStateError, match=r"mesh\.key cannot be read \(it has 5 bytes, not 32\); run `dlibos down"):
        Runtime(directory)
    directory.key_file.unlink()
    with pytest.raises(MeshStateError, match=r"mesh\.key cannot be read"):
        Runtime(directory)
    assert processes.scan(directory.path) == []


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({"tile": 1, "incarnation": 5, "module": "os"}, "not a request for a tile"),
        ({"tile": "1", "incarnation": 5, "module": "dlibos_node"}, "not a request for a tile"),
        ({}, "not a request for a tile"),
    ],
)
def test_a_request_that_makes_no_sense_forks_nothing(
    order: dict[str, object], why: str, directory: MeshDirectory
) -> None:
    nursery = Nursery(directory.path, directory.log_file("nursery"))
    log = os.open(os.devnull, os.O_WRONLY)
    with pytest.raises(StartError, match=why):
        nursery.fork({"tile": 1} | order, [log])
    with pytest.raises(StartError, match="not a request for a tile"):
        nursery.fork({"tile": 1, "incarnation": 5, "module": "dlibos_node"}, [])
    os.close(log)
    assert [process.tile for process in processes.scan(directory.path)] == [None]
    nursery.close()


def test_the_nurserys_socket_has_no_name_to_connect_to(
    runtime: Runtime, directory: MeshDirectory, mesh: mesh_pb2.Mesh
) -> None:
    runtime.start(mesh, 0, INCARNATION)
    pid = nursery_of(directory)
    inodes = [
        str(entry.readlink()).removeprefix("socket:[").removesuffix("]")
        for entry in Path(f"/proc/{pid}/fd").iterdir()
        if "socket:" in str(entry.readlink())
    ]
    assert len(inodes) == 1
    table = [line.split() for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]]
    assert [fields for fields in table if fields[6] == inodes[0] and len(fields) > 7] == [], "it has a name"


def test_the_longest_number_has_room(stub_tiles: Callable[[str], None]) -> None:
    del stub_tiles
    _, tile, _, incarnation = ROOM
    assert len(tile) >= len(str(16 * 16 - 1))
    assert len(incarnation) >= len(str(time.time_ns()))
