"""The tiles of a running mesh as the kernel sees them, and what another process of the same user can do to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from dlibos_node.hardening.descriptors import descriptors
from dlibos_node.hardening.profile import DESCRIPTORS
from dlibos_orchestrator.bench import soak
from dlibos_orchestrator.model.options import MeshOptions, Published
from dlibos_orchestrator.runtime import local, processes
from dlibos_orchestrator.runtime.directory import mesh_directory
from tests.support.commandline import LIMIT, get, tiles, up

pytestmark = pytest.mark.integration
ROLES = ("driver", "stack", "app")

# What an equal without capabilities gets for an attack on process argv[1]; like a tile, it gives its own up first.
INTRUDER = """\
import ctypes, errno, os, sys
from dlibos_node.hardening.capabilities import drop_capabilities
drop_capabilities()
pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def attempt(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"
def call(*words):
    if libc.syscall(*map(ctypes.c_long, words)) == -1:
        raise OSError(ctypes.get_errno(), "")
seize = lambda: libc.ptrace(0x4206, pid, 0, 0) == -1 and (_ for _ in ()).throw(OSError(ctypes.get_errno(), ""))
print(
    attempt(seize),
    attempt(lambda: open(f"/proc/{pid}/mem", "rb")),
    attempt(lambda: os.readlink(f"/proc/{pid}/fd/1")),
    attempt(lambda: call(438, os.pidfd_open(pid), 1, 0)),
)
"""


def pids(base: Path) -> dict[str, int]:
    running = {process.tile: process.pid for process in processes.scan(base / "default")}
    return {str(row["role"]): running[int(str(row["tile"]))] for row in tiles()}


def kernel_view(pid: int) -> Mapping[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_kernel_says_that_tiles_hold_nothing(base: Path, nic: str, port: int) -> None:
    up("--nic", nic, "--publish", f"{port}:80", "--idle", "1")
    for pid in pids(base).values():
        view = kernel_view(pid)
        sets = ["CapInh", "CapPrm", "CapEff", "CapAmb", *(["CapBnd"] if os.geteuid() == 0 else [])]
        assert {int(view[name], 16) for name in sets} == {0}
        assert (view["NoNewPrivs"], view["Seccomp"]) == ("1", "2")
        for thread in Path(f"/proc/{pid}/task").iterdir():
            assert "Seccomp:\t2" in (thread / "status").read_text(), "a thread has no filter"
    said = {tuple(line.split(":")[0] for line in row["hardening"]) for row in tiles()}  # type: ignore[attr-defined]
    assert said == {("core files", "capabilities", "no_new_privs", "not dumpable", "landlock", "seccomp")}


def test_an_equal_cannot_look_into_a_tile(base: Path, nic: str, port: int) -> None:
    up("--nic", nic, "--publish", f"{port}:80")
    for pid in pids(base).values():
        done = subprocess.run(
            [sys.executable, "-c", INTRUDER, str(pid)], capture_output=True, text=True, check=True, timeout=LIMIT
        )
        assert done.stdout.split() == ["EPERM", "EACCES", "EACCES", "EPERM"]


def test_tiles_hold_the_descriptors_of_their_role_and_nothing_more(
    base: Path, nic: str, port: int, root: Path, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can list the descriptors of a hardened tile")
    with (tmp_path / "leaked").open("w") as leaked:
        os.set_inheritable(leaked.fileno(), True)
        up("--nic", nic, "--publish", f"{port}:80", "--root", str(root), "--idle", "1", "--pcap", str(tmp_path))
    get(port, "/random.bin")
    for role, pid in pids(base).items():
        found = descriptors(pid)
        besides = {"tap": 1, "capture": 1} if role == "driver" else {}
        if nic == "user":
            besides.pop("tap", None)
        assert {kind: found[kind] for kind in found.keys() - DESCRIPTORS[role]} == besides
        assert found.keys() >= DESCRIPTORS[role], "the documented set is too wide"


def test_hardened_tiles_are_scraped(base: Path, nic: str, port: int) -> None:
    up("--nic", nic, "--publish", f"{port}:80")
    get(port, "/")
    for row in tiles():
        for _ in range(2):  # each scrape has a thread of its own
            with urllib.request.urlopen(f"http://127.0.0.1:{row['metrics_port']}/metrics", timeout=LIMIT) as answer:
                assert b"dlibos_noc_frames_received_total" in answer.read()


def test_links_come_back(base: Path, nic: str, port: int) -> None:
    local.up(MeshOptions(nic=nic, publish=(Published("127.0.0.1", port, 80),)), LIMIT, lambda line: None)
    directory = mesh_directory("default")
    mesh = directory.read_mesh()
    soak.replace(directory, mesh, mesh.tiles[2])
    said = json.loads((base / "default" / "status" / "2" / "status.json").read_text())
    assert len(said["hardening"]) == 6
