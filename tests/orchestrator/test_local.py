from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import MachineError, MeshStateError, OrchestratorError, StartError
from dlibos_orchestrator.model import credentials
from dlibos_orchestrator.model.options import MeshOptions, Published
from dlibos_orchestrator.runtime import local, namespace, processes
from dlibos_orchestrator.runtime.directory import mesh_directory
from dlibos_orchestrator.runtime.namespace import Availability
from dlibos_orchestrator.runtime.observe import observe
from dlibos_orchestrator.runtime.words import last_words
from tests.support.keys import MESH_KEY

DLIBOS = [sys.executable, "-P", "-m", "dlibos_orchestrator"]
SECONDS = 20.0  # far more than stub tiles need
pytestmark = pytest.mark.usefixtures("stub_tiles")


def ignore(line: str) -> None:
    del line


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def user() -> MeshOptions:
    """A mesh with the user-mode NIC, which every machine can have."""
    return MeshOptions(name="m", nic="user", publish=(Published("127.0.0.1", free_port(), 80),))


@pytest.fixture
def kernel(tap: None, user: MeshOptions) -> MeshOptions:
    """A mesh with a TAP device, a namespace and a publisher."""
    del tap
    return replace(user, nic="tap")


def nothing_left(base: Path) -> bool:
    return not processes.scan(base / "m") and list(base.iterdir()) == []


def test_up_observe_down(user: MeshOptions, runtime_directory: Path) -> None:
    assert local.up(replace(user, idle=2), SECONDS, ignore)
    rows = observe(mesh_directory("m"))
    assert [(row.tile, row.role, row.state) for row in rows] == [
        (0, "driver", "ready"),
        (1, "stack", "ready"),
        (2, "app", "ready"),
        (3, "idle", "ready"),
        (4, "idle", "ready"),
    ]
    assert all(row.rss_bytes > 0 and row.metrics_port == 9000 + row.tile for row in rows)
    assert local.down("m")
    assert nothing_left(runtime_directory)
    assert not local.down("m")


def credentials_held_by(process: Path) -> list[bytes]:
    held = [entry for entry in (process / "fd").iterdir() if entry.exists()]  # the one that lists them has gone
    return [entry.read_bytes() for entry in held if "dlibos-credentials" in str(entry.readlink())]


@pytest.mark.parametrize("kind", ["user", "kernel"])
def test_each_process_inherits_its_own_credentials_and_no_others(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "draw_key", lambda: MESH_KEY)
    local.up(replace(request.getfixturevalue(kind), driver=2, app=2), SECONDS, ignore)
    mesh = mesh_directory("m").read_mesh()
    held = {
        process.tile if process.tile is not None else process.module.rpartition(".")[2]: credentials_held_by(
            Path(f"/proc/{process.pid}")
        )
        for process in processes.scan(mesh_directory("m").path)
    }
    # Stub tiles leave theirs unread; the keeper has read its own, and the others have none.
    expected: dict[int | str, list[bytes]] = {
        tile.tile: [credentials.of_tile(mesh, MESH_KEY, tile)] for tile in mesh.tiles
    }
    expected |= {"serve": [], "nursery": []}
    assert held == expected | ({"keeper": [], "publisher": []} if kind == "kernel" else {})
    assert credentials_held_by(Path("/proc/self")) == []
    local.down("m")


def test_the_mesh_key_is_another_each_time_and_written_in_one_place_for_its_owner_alone(
    user: MeshOptions, runtime_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = local.draw_key()
    assert len(key) == 32
    assert key != local.draw_key()
    monkeypatch.setattr(local, "draw_key", lambda: MESH_KEY)
    local.up(user, SECONDS, ignore)
    place = mesh_directory("m").key_file
    assert (place.read_bytes(), place.stat().st_mode & 0o777) == (MESH_KEY, 0o600)
    secrets = [MESH_KEY, MESH_KEY.hex().encode(), *(key.hex().encode() for key in pair_keys(3))]
    written = [file.read_bytes() for file in runtime_directory.rglob("*") if file.is_file() and file != place]
    written += [
        Path(f"/proc/{process.pid}/{name}").read_bytes()
        for process in processes.scan(mesh_directory("m").path)
        for name in ("cmdline", "environ")
    ]
    assert not [secret for secret in secrets for text in written if secret in text]
    local.down("m")


def pair_keys(tiles: int) -> list[bytes]:
    return [credentials.pair_key(MESH_KEY, one, other) for one in range(tiles) for other in range(one)]


def pids() -> list[int]:
    return [row.pid for row in observe(mesh_directory("m"))]


def process_of(module: str) -> int:
    return next(p.pid for p in processes.scan(mesh_directory("m").path) if p.module == module)


def test_up_again_is_idempotent_and_refuses_another_shape(user: MeshOptions) -> None:
    assert local.up(user, SECONDS, ignore)
    before = pids()
    assert not local.up(user, SECONDS, ignore)
    with pytest.raises(MeshStateError, match="is up, but not as asked for now; run `dlibos down --name m` first"):
        local.up(replace(user, width=7), SECONDS, ignore)
    with pytest.raises(MeshStateError, match="it has 1 driver, 1 stack, 1 app, 0 idle, not 1 driver, 1 stack, 2 app"):
        local.up(replace(user, app=2), SECONDS, ignore)
    assert pids() == before
    local.down("m")


def test_up_again_takes_back_nothing_that_was_changed_since(user: MeshOptions) -> None:
    local.up(user, SECONDS, ignore)
    directory, lines = mesh_directory("m"), list[str]()
    spec = directory.read_spec()
    spec.app[0] = 2
    directory.write_spec(spec)
    assert not local.up(user, SECONDS, lines.append)
    assert lines == [
        "mesh 'm' was scaled since from 1 driver, 1 stack, 1 app, 0 idle to 1 driver, 1 stack, 2 app, 0 idle, "
        "and stays so"
    ]
    assert not local.up(replace(user, app=2), SECONDS, lines.append)
    assert len(lines) == 1, "it is as asked for now"
    with pytest.raises(MeshStateError, match="not as asked for now"):
        local.up(replace(user, app=3), SECONDS, lines.append)
    assert directory.read_spec() == spec
    local.down("m")


def test_a_tile_that_ends_is_started_again_as_another_process(user: MeshOptions) -> None:
    local.up(user, SECONDS, ignore)
    before = {process.tile: process for process in processes.scan(mesh_directory("m").path)}
    processes.kill(before[1].pid)
    local.up(user, SECONDS, ignore)  # waits until all are ready again
    after = {process.tile: process for process in processes.scan(mesh_directory("m").path)}
    assert after[1].incarnation > before[1].incarnation > 0
    assert [after[tile].pid for tile in (0, 2)] == [before[tile].pid for tile in (0, 2)]
    local.down("m")


def test_a_mesh_without_its_orchestrator_goes_on_and_up_starts_another(
    user: MeshOptions, runtime_directory: Path
) -> None:
    local.up(user, SECONDS, ignore)
    before, lines = pids(), list[str]()
    processes.kill(process_of(processes.ORCHESTRATOR_MODULE))
    shown = run("ps", "--name", "m").stderr
    assert shown.endswith(
        "mesh 'm' has lost its orchestrator: tiles that end stay dead; run `dlibos up --name m` again\n"
    )
    processes.kill(before[2])
    assert [row.state for row in observe(mesh_directory("m"))] == ["ready", "ready", "dead"]
    assert not local.up(user, SECONDS, lines.append)
    assert lines == ["the orchestrator of mesh 'm' had ended; started again"]
    assert pids()[:2] == before[:2]
    assert [row.state for row in observe(mesh_directory("m"))] == ["ready"] * 3
    local.down("m")
    assert nothing_left(runtime_directory)


def test_a_mesh_without_its_nursery_gets_another_when_it_needs_one(user: MeshOptions) -> None:
    local.up(user, SECONDS, ignore)
    before = process_of(processes.NURSERY_MODULE)
    processes.kill(before)
    processes.kill(pids()[0])
    local.up(user, SECONDS, ignore)
    assert process_of(processes.NURSERY_MODULE) != before
    local.down("m")


@pytest.mark.parametrize("role", ["keeper", "publisher"])
def test_a_mesh_that_lost_its_keeper_or_publisher_says_so(role: str, kernel: MeshOptions) -> None:
    local.up(kernel, SECONDS, ignore)
    victim = next(p.pid for p in processes.scan(mesh_directory("m").path) if p.module.endswith(role))
    processes.kill(victim)
    with pytest.raises(MeshStateError, match=f"has lost its {role}; run"):
        local.up(kernel, SECONDS, ignore)
    assert run("exec", "--name", "m", "--", "true").returncode == (role == "keeper")
    local.down("m")


def test_what_a_mesh_that_ended_left_is_cleared(user: MeshOptions) -> None:
    local.up(user, SECONDS, ignore)
    assert processes.stop_all(mesh_directory("m").path) == []
    lines: list[str] = []
    assert local.up(user, SECONDS, lines.append)
    assert lines == ["clearing what is left of a mesh 'm' that ended"]
    local.down("m")


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("problem", "tile [0-2]: the disk is full; empty it"),
        ("die", "tile [0-2] ended: Traceback: tile fell over"),
    ],
)
def test_a_tile_that_fails_takes_the_mesh_down_with_its_own_words(
    mode: str, words: str, user: MeshOptions, stub_tiles: Callable[[str], None], runtime_directory: Path
) -> None:
    stub_tiles(mode)
    with pytest.raises(StartError, match=words):
        local.up(user, SECONDS, ignore)
    assert nothing_left(runtime_directory)


def test_a_tile_that_is_never_ready(
    user: MeshOptions, stub_tiles: Callable[[str], None], runtime_directory: Path
) -> None:
    stub_tiles("slow")
    with pytest.raises(StartError, match=r"3 of 3 tiles were not ready after 0.3 s .*try a longer --timeout"):
        local.up(user, 0.3, ignore)
    assert nothing_left(runtime_directory)


def test_a_time_limit_of_nothing_is_one(
    user: MeshOptions, stub_tiles: Callable[[str], None], runtime_directory: Path
) -> None:
    stub_tiles("slow")
    publish = f"{user.publish[0].host_port}:80"
    done = run("up", "--name", "m", "--nic", "user", "--publish", publish, "--wait", "--timeout", "0s")
    assert (done.returncode, done.stdout) == (1, "")
    assert "3 of 3 tiles were not ready after 0 s" in done.stderr
    assert nothing_left(runtime_directory)


def test_a_path_too_long_for_sockets_is_refused_before_anything_is_made(
    user: MeshOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / ("x" * 100)
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", str(base))
    with pytest.raises(MachineError, match="set DLIBOS_RUNTIME_DIR to a shorter directory"):
        local.up(user, SECONDS, ignore)
    assert not base.exists()


@pytest.mark.parametrize("kind", ["user", "kernel"])
def test_a_port_that_is_taken_is_said_before_anything_starts(
    kind: str, runtime_directory: Path, request: pytest.FixtureRequest
) -> None:
    options: MeshOptions = request.getfixturevalue(kind)
    taken = socket.create_server(("127.0.0.1", options.publish[0].host_port))
    with taken, pytest.raises(MachineError, match="cannot be published: Address already in use; choose another"):
        local.up(options, SECONDS, ignore)
    assert nothing_left(runtime_directory)


def test_the_user_mode_nic_publishes_the_web_port_by_default(
    user: MeshOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = Published("127.0.0.1", free_port(), 80)
    monkeypatch.setattr(local, "USER_NIC_PUBLISH", default)
    local.up(replace(user, publish=()), SECONDS, ignore)
    mesh = mesh_directory("m").read_mesh()
    assert local.reachable_address(mesh) == f"127.0.0.1:{default.host_port}"
    local.down("m")


def test_which_nic_is_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(namespace, "can_have_tap", lambda: Availability(ok=True))
    assert local.resolve_nic("auto", lines.append) == mesh_pb2.NIC_KIND_TAP
    monkeypatch.setattr(namespace, "can_have_tap", lambda: Availability(ok=False, reason="no device", fix="modprobe"))
    assert local.resolve_nic("auto", lines.append) == mesh_pb2.NIC_KIND_USER
    assert lines == ["network interface: kernel TAP device", "network interface: user-mode NIC (no device)"]
    with pytest.raises(MachineError, match="--nic tap: no device; modprobe; or use --nic user"):
        local.resolve_nic("tap", lines.append)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DLIBOS, *arguments], capture_output=True, text=True, check=False, timeout=30)


def test_exec_runs_where_the_device_is_and_answers_as_the_program_does(
    kernel: MeshOptions, runtime_directory: Path
) -> None:
    local.up(kernel, SECONDS, ignore)
    show = "import os, socket; print(os.environ['DLIBOS_ADDRESS'], [name for _, name in socket.if_nameindex()])"
    assert run("exec", "--name", "m", "--", sys.executable, "-c", show).stdout == "10.77.0.2 ['lo', 'dlibos0']\n"
    assert run("exec", "--name", "m", "--", "sh", "-c", "exit 7").returncode == 7
    missing = run("exec", "--name", "m", "--", "no-such-program", "--name", "x")
    assert (missing.returncode, missing.stdout) == (127, "")
    assert missing.stderr == "dlibos: exec: 'no-such-program' is not found; install it, or give its path\n"
    assert "dlibos0" not in [name for _, name in socket.if_nameindex()], "the host's network is never touched"
    local.down("m")
    assert nothing_left(runtime_directory)


def test_exec_with_the_user_mode_nic_runs_here(user: MeshOptions) -> None:
    local.up(user, SECONDS, ignore)
    answer = run("exec", "--name", "m", "sh", "-c", "echo $DLIBOS_ADDRESS")
    assert answer.stdout == f"127.0.0.1:{user.publish[0].host_port}\n"
    refused = run("exec", "--name", "m", "/etc/passwd")
    assert refused.returncode == 126
    assert refused.stderr.endswith("Permission denied; name a file that may be executed\n")
    local.down("m")


def test_logs_of_one_tile_and_of_all(user: MeshOptions) -> None:
    local.up(user, SECONDS, ignore)
    assert run("logs", "1", "--name", "m").stdout == "stub tile 1\n"
    lines = run("logs", "--name", "m").stdout.splitlines()
    assert [line for line in lines if line.startswith("tile-")] == [f"tile-{n}: stub tile {n}" for n in range(3)]
    assert any(line.startswith("orchestrator: ") for line in lines)
    assert "has no tile 9" in run("logs", "9", "--name", "m").stderr
    local.down("m")


@pytest.mark.parametrize("seed", range(4))
def test_down_after_a_crash_leaves_nothing(seed: int, kernel: MeshOptions, runtime_directory: Path) -> None:
    options = replace(kernel, driver=2, stack=2, app=2)
    local.up(options, SECONDS, ignore)
    running = processes.scan(runtime_directory / "m")
    # Held open to the end: the number of a namespace that has gone is another's next, be it of another test run.
    held = [os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY) for process in running]
    spaces = {Path(f"/proc/self/fd/{space}").readlink() for space in held}
    assert len(running) == 10
    for victim in random.Random(seed).sample(running, 5):
        os.kill(victim.pid, signal.SIGKILL)
    assert run("down", "--name", "m").returncode == 0
    for process in running:
        processes.reap(process.pid)
    assert nothing_left(runtime_directory)
    spaces.discard(Path("/proc/self/ns/net").readlink())
    assert not spaces & {space for pid in Path("/proc").glob("[0-9]*") if (space := namespace_of(pid)) is not None}
    for descriptor in held:
        os.close(descriptor)


def namespace_of(process: Path) -> Path | None:
    try:
        return (process / "ns" / "net").readlink()
    except OSError:
        return None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_takes_everything_down_again(
    number: signal.Signals, kernel: MeshOptions, runtime_directory: Path, stub_tiles: Callable[[str], None]
) -> None:
    stub_tiles("slow")
    port = kernel.publish[0].host_port
    flags = ["--name", "m", "--nic", "tap", "--publish", f"{port}:80", "--wait", "--timeout", "20s"]
    with subprocess.Popen([*DLIBOS, "up", *flags], stderr=subprocess.PIPE, text=True) as launcher:
        wait_for_status(runtime_directory / "m" / "status" / "2" / "status.json", launcher)
        launcher.send_signal(number)
        _, errors = launcher.communicate(timeout=20)
    assert launcher.returncode == 1
    assert errors == "dlibos: up was interrupted\n"
    assert nothing_left(runtime_directory)


def test_a_killed_launcher_leaves_a_mesh_that_down_finds(
    kernel: MeshOptions, runtime_directory: Path, stub_tiles: Callable[[str], None]
) -> None:
    stub_tiles("slow")
    with subprocess.Popen([*DLIBOS, "up", "--name", "m", "--nic", "tap", "--wait"]) as launcher:
        wait_for_status(runtime_directory / "m" / "status" / "2" / "status.json", launcher)
        launcher.kill()
    assert processes.scan(runtime_directory / "m")
    assert run("down", "--name", "m").returncode == 0
    assert nothing_left(runtime_directory)


def wait_for_status(file: Path, launcher: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    while not file.exists():
        assert launcher.poll() is None
        time.sleep(0.01)


def test_two_ups_at_once_make_one_mesh(user: MeshOptions) -> None:
    flags = ["--name", "m", "--nic", "user", "--publish", f"{user.publish[0].host_port}:80", "--wait", "-o", "json"]
    both = [subprocess.Popen([*DLIBOS, "up", *flags], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [one.communicate(timeout=30)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert outputs[0] == outputs[1] or all('"state": "ready"' in output for output in outputs)
    assert len(processes.scan(mesh_directory("m").path)) == 5
    local.down("m")


def test_last_words(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert last_words(log) == ""
    log.write_text("one\n  two  \n\n")
    assert last_words(log) == "two"


def test_errors_have_exit_codes() -> None:
    assert {error.exit_code for error in (MachineError, MeshStateError, StartError)} == {OrchestratorError.exit_code}
