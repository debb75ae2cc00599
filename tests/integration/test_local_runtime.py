"""A real mesh of real tiles on this machine, through the command line, as a user has it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dlibos_orchestrator.runtime import processes
from tests.support.commandline import digest, dlibos, get, tiles, up

pytestmark = pytest.mark.integration


def test_a_page_and_a_file_cross_the_chip(base: Path, nic: str, root: Path, port: int) -> None:
    up("--nic", nic, "--publish", f"{port}:80", "--root", str(root))
    assert b"DLibOS" in get(port, "/")
    assert digest(get(port, "/random.bin")) == digest((root / "random.bin").read_bytes())
    rows = tiles()
    assert [(row["role"], row["state"]) for row in rows] == [("driver", "ready"), ("stack", "ready"), ("app", "ready")]
    assert rows[0]["nic"] == nic
    fetch = "import os, urllib.request as r; print(len(r.urlopen('http://' + os.environ['DLIBOS_ADDRESS']).read()))"
    assert dlibos("exec", "--", sys.executable, "-c", fetch).stdout.strip().isdecimal()
    assert dlibos("down").returncode == 0
    assert not processes.scan(base / "default")
    assert tiles() == []


def test_several_tiles_of_every_role_work_at_once(base: Path, nic: str, root: Path, port: int) -> None:
    up("--nic", nic, "--publish", f"{port}:80", "--root", str(root), "--driver", "2", "--stack", "2", "--app", "2")
    expected = digest((root / "random.bin").read_bytes())
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: digest(get(port, "/random.bin")), range(32)))
    assert answers == [expected] * 32
    assert {row["state"] for row in tiles()} == {"ready"}


def test_ping_answers(base: Path, nic: str) -> None:
    if nic == "user" or shutil.which("ping") is None:
        pytest.skip("needs a kernel TAP device and the program ping")
    up("--nic", nic)
    assert "2 received" in dlibos("exec", "--", "ping", "-c", "2", "-i", "0.2", "10.77.0.2").stdout


def test_a_bad_wire_is_recorded_and_does_not_show_in_the_data(
    base: Path, nic: str, root: Path, port: int, tmp_path: Path
) -> None:
    capture = tmp_path / "pcap"
    capture.mkdir()
    faults = ["--fault", "seed=7,loss=0.01,duplicate=0.01,reorder=0.01", "--pcap", str(capture)]
    up("--nic", nic, "--publish", f"{port}:80", "--root", str(root), *faults)
    assert digest(get(port, "/random.bin")) == digest((root / "random.bin").read_bytes())
    dlibos("down")
    assert [file.stat().st_size > 3_000_000 for file in capture.iterdir()] == [True]


@pytest.mark.parametrize("seed", [1, 2])
def test_down_after_a_crash_leaves_nothing(base: Path, nic: str, port: int, seed: int) -> None:
    up("--nic", nic, "--publish", f"{port}:80", "--stack", "2", "--app", "2")
    running = processes.scan(base / "default")
    for victim in random.Random(seed).sample(running, 3):
        os.kill(victim.pid, signal.SIGKILL)
    assert dlibos("down").returncode == 0
    assert processes.scan(base / "default") == []
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


@pytest.mark.parametrize("tile", [0, 1, 2])
def test_a_tile_that_dies_is_replaced_and_serves_again(base: Path, nic: str, port: int, tile: int) -> None:
    up("--nic", nic, "--publish", f"{port}:80")
    before = {process.tile: process.pid for process in processes.scan(base / "default")}
    os.kill(before[tile], signal.SIGKILL)
    up("--nic", nic, "--publish", f"{port}:80")  # waits until all are ready
    after = {process.tile: process.pid for process in processes.scan(base / "default")}
    assert {number for number in range(3) if after[number] != before[number]} == {tile}
    assert {row["state"] for row in tiles()} == {"ready"}
    assert b"DLibOS" in get(port, "/")


def test_a_mesh_serves_without_its_orchestrator_and_gets_another_by_up(base: Path, nic: str, port: int) -> None:
    up("--nic", nic, "--publish", f"{port}:80")
    before = processes.scan(base / "default")
    kill(next(process.pid for process in before if process.module == processes.ORCHESTRATOR_MODULE))
    assert b"DLibOS" in get(port, "/")
    assert "has lost its orchestrator" in dlibos("ps").stderr
    kill(next(process.pid for process in before if process.tile == 2))
    assert "dead" in {row["state"] for row in tiles()}
    again = dlibos("up", "--nic", nic, "--publish", f"{port}:80", "--wait")
    assert again.returncode == 0, again.stderr
    assert "the orchestrator of mesh 'default' had ended; started again" in again.stderr
    assert b"DLibOS" in get(port, "/")
    after = processes.scan(base / "default")
    assert len(after) == len(before), "the nursery of the orchestrator before has gone, too"
    assert [p.pid for p in after if p.tile in (0, 1)] == [p.pid for p in before if p.tile in (0, 1)]


def kill(pid: int) -> None:
    assert processes.kill(pid)


def test_the_demonstration_tells_the_truth(base: Path, nic: str) -> None:
    shown = dlibos("demo", "--nic", nic)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "SHA-256 equal" in shown.stdout
    assert shown.stdout.rstrip().endswith("all steps passed")
