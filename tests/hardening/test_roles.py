"""A real process of every role, hardened, tries what it may and may not do: as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_node.hardening import landlock
from dlibos_node.hardening.outcome import ENFORCED

PROGRAM = Path(__file__).with_name("attempts.py")
NOBODY = 65534
ROLES = (mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP, mesh_pb2.ROLE_IDLE)
HOST_BASE = 20210

ALLOWED = {
    "anonymous memory", "connect to another's socket", "listen in own place", "not blocking", "raise", "signal self",
    "socketpair", "thread", "write own status",
}  # fmt: skip
# Landlock's business, where the kernel has the ABI for it.
BY_LANDLOCK = {
    "EACCES": {
        "list /tmp", "listen elsewhere", "make a directory", "make a link", "read /etc/passwd", "read the mesh file",
        "remove another's socket", "write another's status", "write in the root", "read parent's memory",
    },
}  # fmt: skip
WEB_ROOT = {"read the web root", "list the web root"}


class Report(NamedTuple):
    """What a hardened process tried and what came of it; its mechanisms; the fields of /proc/self/status."""

    tried: dict[str, str]
    outcomes: list[list[str]]
    fields: dict[str, str]

    @property
    def refused(self) -> dict[str, str]:
        return {name: answer for name, answer in self.tried.items() if answer != "ok"}


def landlock_abi() -> int:
    try:
        return landlock.abi()
    except OSError:
        return 0


needs_landlock = pytest.mark.skipif(landlock_abi() < 6, reason=f"Landlock ABI {landlock_abi()}, 6 binds what is tried")


@pytest.fixture(params=["own user", "nobody"])
def uid(request: pytest.FixtureRequest) -> int:
    if request.param == "nobody" and os.getuid() != 0:
        pytest.skip("only root can become another user")
    return NOBODY if request.param == "nobody" else os.getuid()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A mesh's directory that another user can use too, with a web root and sockets of somebody else's."""
    path = Path(tempfile.mkdtemp(prefix="dl-"))
    path.chmod(0o777)
    for room in ("status/99", "noc", "mem", "www"):
        (path / room).mkdir(parents=True)
        (path / room.partition("/")[0]).chmod(0o777)
    (path / "www" / "index.html").write_text("hello")
    with socket.socket(socket.AF_UNIX) as door, socket.socket(socket.AF_UNIX) as abstract:
        door.bind(str(path / "door"))
        (path / "door").chmod(0o777)
        abstract.bind(b"\0" + str(path).encode())
        for listener in (door, abstract):
            listener.listen()
        yield path
    shutil.rmtree(path)


def write_mesh(directory: Path, host: str) -> None:
    mesh = mesh_pb2.Mesh(id="m", width=2, height=2)
    mesh.domains.add(name="a", ports=[80])
    for number, role in enumerate(ROLES):
        address = f"{host}:{HOST_BASE + number}" if host else f"unix:{directory}/noc/{number}/sock"
        tile = mesh.tiles.add(tile=number, role=role, address=address, memory=f"{directory}/mem/{number}/sock")
        if role == mesh_pb2.ROLE_APP:
            tile.domain = 1
            tile.app.root = str(directory / "www")
    (directory / "mesh.json").write_text(json_format.MessageToJson(mesh))


def attempt(directory: Path, tile: int, uid: int, host: str = "") -> Report:
    write_mesh(directory, host)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(directory), str(tile), str(uid)],
        capture_output=True, text=True, check=False, stdin=subprocess.PIPE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Report(**json.loads(done.stdout))


@pytest.mark.parametrize("tile", range(4))
def test_what_no_role_may_do_is_refused_and_the_rest_works(directory: Path, tile: int, uid: int) -> None:
    report = attempt(directory, tile, uid)
    assert {report.tried[name] for name in ALLOWED} == {"ok"}
    calls = {name: answer for name, answer in report.tried.items() if name.startswith("call ")}
    absent = {"call clone3", "call beyond the last", "call x32 getpid"}
    assert len(calls) > 80
    assert {name: answer for name, answer in calls.items() if answer != "EPERM"} == dict.fromkeys(absent, "ENOSYS")
    families = {name: report.tried[name] for name in ("inet", "inet6", "netlink", "packet", "vsock")}
    assert set(families.values()) == {"EPERM"}
    others = {
        "ptrace parent", "signal parent", "signal group", "limit parent", "fork", "exec", "spawn", "run",
        "fork in a thread", "memfd", "TUNSETIFF",
    }  # fmt: skip
    assert {name: report.tried[name] for name in others} == dict.fromkeys(others, "EPERM")


@pytest.mark.parametrize("tile", range(4))
def test_the_process_says_so(directory: Path, tile: int, uid: int) -> None:
    report = attempt(directory, tile, uid)
    sets = ["CapInh", "CapPrm", "CapEff", "CapAmb", *(["CapBnd"] if uid == 0 else [])]
    assert {int(report.fields[name], 16) for name in sets} == {0}
    assert (report.fields["NoNewPrivs"], report.fields["Seccomp"]) == ("1", "2")
    states = {mechanism: state for mechanism, state, *_ in report.outcomes}
    assert set(states) == {"core files", "capabilities", "no_new_privs", "not dumpable", "landlock", "seccomp"}
    assert {state for mechanism, state in states.items() if mechanism != "landlock"} == {ENFORCED}


@needs_landlock
@pytest.mark.parametrize("tile", range(4))
def test_files_and_abstract_sockets(directory: Path, tile: int, uid: int) -> None:
    report = attempt(directory, tile, uid)
    for answer, names in BY_LANDLOCK.items():
        assert {name: report.tried[name] for name in names} == dict.fromkeys(names, answer)
    assert report.tried["connect to an abstract socket"] == "EPERM"
    root = "ok" if ROLES[tile] == mesh_pb2.ROLE_APP else "EACCES"
    assert {report.tried[name] for name in WEB_ROOT} == {root}
    if uid == os.getuid():
        assert report.tried["import"] == "ok"


@needs_landlock
def test_links_to_other_hosts_open_their_own_ports_only(directory: Path, uid: int) -> None:
    report = attempt(directory, 1, uid, host="127.0.0.1")
    names = ("inet", "inet6", "netlink", "bind own port", "bind another port", "connect to another port")
    assert [report.tried[name] for name in names] == ["ok", "ok", "EPERM", "ok", "EACCES", "EACCES"]


def test_it_needs_one_thread(tmp_path: Path) -> None:
    late = (
        "import threading; from dlibos_node.hardening.__main__ import main; end = threading.Event();"
        "threading.Thread(target=end.wait).start(); code = main(); end.set(); raise SystemExit(code)"
    )
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("2 threads run before the tile is hardened")
