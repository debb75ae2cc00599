"""A process of the same user that no launcher gave keys to gets nothing of a running mesh, and disturbs nobody."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest
from dlibos.control.v1 import mesh_pb2
from dlibos.noc.v1.noc_pb2 import Frame, Hello
from dlibos.noc.v1.noc_pb2_grpc import NocStub

from dlibos_node.errors import DeviceError, PartitionError
from dlibos_node.identity import KEEPER, Credentials
from dlibos_node.memory.handover import fetch
from dlibos_node.nic.queue import fetch_queue
from dlibos_node.noc.handshake import VERSION
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.directory import MeshDirectory
from tests.support.commandline import LIMIT, get, up
from tests.support.ends import ending

pytestmark = pytest.mark.integration
ROLES = (mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP)


@pytest.fixture
def mesh(base: Path, nic: str, port: int) -> mesh_pb2.Mesh:
    up("--nic", nic, "--publish", f"{port}:80", "--stack", "2", "--app", "2")
    return MeshDirectory(base / "default").read_mesh()


def guessed(tile: int) -> Credentials:
    return Credentials(tile, {peer: secrets.token_bytes(32) for peer in (*range(36), KEEPER)})


async def assert_no_memory(mesh: mesh_pb2.Mesh, owner: mesh_pb2.Tile) -> None:
    for tile in [entry.tile for entry in mesh.tiles if entry.role != owner.role]:
        with pytest.raises(PartitionError, match="wrong_proof"):
            await fetch(owner.memory, owner.tile, tile)
        with pytest.raises(PartitionError, match="does not prove"):
            await fetch(owner.memory, owner.tile, tile, guessed(tile))


async def assert_no_link(mesh: mesh_pb2.Mesh, listener: mesh_pb2.Tile, dialer: mesh_pb2.Tile) -> None:
    """Say hello in the name of a tile whose link is up, with a made-up proof."""
    hello = Hello(version=VERSION, mesh_id=mesh.id, source=dialer.tile, destination=listener.tile, nonce=bytes(32))
    hello.credits.extend([8192] * 4)
    async with grpc.aio.insecure_channel(listener.address) as channel:
        call = NocStub(channel).Link()
        for frame in (Frame(hello=hello), Frame(proof=bytes(32))):
            await call.write(frame)
        error = await ending(call)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def assert_no_queue(mesh: mesh_pb2.Mesh) -> None:
    with pytest.raises(DeviceError, match="wrong_proof"):
        fetch_queue(mesh.nic.keeper, 0)
    with pytest.raises(DeviceError, match="does not prove"):
        fetch_queue(mesh.nic.keeper, 0, guessed(0))


def counted(base: Path, tile: int, pattern: str) -> float:
    """Return a metric of a tile; `pattern` is a part of its name and labels."""
    status = MeshDirectory(base / "default").read_status(tile)
    assert status is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{status.metrics_port}/metrics", timeout=LIMIT) as answer:
        found = re.search(rf"^{pattern} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_a_process_without_keys_gets_nothing(base: Path, mesh: mesh_pb2.Mesh, port: int) -> None:
    driver, stack, app = (next(tile for tile in mesh.tiles if tile.role == role) for role in ROLES)
    for owner in mesh.tiles:
        await assert_no_memory(mesh, owner)
    await assert_no_link(mesh, stack, driver)
    await assert_no_link(mesh, app, stack)
    if mesh.nic.kind == mesh_pb2.NIC_KIND_TAP:
        assert_no_queue(mesh)
    assert b"DLibOS" in await asyncio.to_thread(get, port, "/")
    assert counted(base, stack.tile, r'dlibos_noc_refused_total\{reason="wrong_proof",[^}]*\}') == 1
    assert counted(base, stack.tile, r"dlibos_noc_links_up\{[^}]*\}") == 4
    refused = r'dlibos_drops_total\{reason="wrong_proof",[^}]*room="handover",[^}]*\}'
    assert counted(base, stack.tile, refused) >= 3


def test_a_tile_that_was_started_by_hand_gets_one_clear_line(base: Path, mesh: mesh_pb2.Mesh, port: int) -> None:
    command = [sys.executable, "-P", "-m", "dlibos_node", "--dir", str(base / "default")]
    done = subprocess.run([*command, "--tile", "1"], capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "this mesh is protected and the tile has no credentials: only `dlibos up` can start it" in done.stderr
    assert b"DLibOS" in get(port, "/")


def test_no_process_of_a_running_mesh_holds_credentials_open(base: Path, mesh: mesh_pb2.Mesh) -> None:
    running = processes.scan(base / "default")
    assert {process.tile for process in running} >= {tile.tile for tile in mesh.tiles}
    names = [str(entry.readlink()) for process in running for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
    assert not [name for name in names if "dlibos-credentials" in name]
