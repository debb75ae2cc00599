from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlibos_orchestrator.runtime import interface, namespace

NET = Path("/proc/self/ns/net")
# Enters a fresh namespace (argument: user namespace or not), reports, and waits until its input ends.
CHILD = """\
import os, socket, sys
from dlibos_orchestrator.runtime import interface, namespace
namespace.enter_fresh({"user": True, "root": False, "any": None}[sys.argv[1]])
before = socket.if_nameindex()
interface.bring_up("lo")
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
    print(os.getuid(), [name for _, name in before], os.readlink("/proc/self/ns/net"), sep="|", flush=True)
sys.stdin.read()
"""
JOIN = """\
import os, sys
from dlibos_orchestrator.runtime import namespace
namespace.join(int(sys.argv[1]))
print(os.readlink("/proc/self/ns/net"))
"""


@pytest.mark.parametrize("kind", ["root", "user", "any"])
def test_a_fresh_namespace_has_a_loopback_of_its_own_and_can_be_joined(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    command = [sys.executable, "-c", CHILD, kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        line = child.stdout.readline().decode().strip()
        if not line:
            pytest.skip(f"no {kind} namespace here: {child.stderr.read().decode().splitlines()[-1]}")
        uid, interfaces, link = line.split("|")
        joined = subprocess.run(
            [sys.executable, "-c", JOIN, str(child.pid)], capture_output=True, text=True, check=True
        )
        child.communicate()
    assert interfaces == "['lo']"
    assert link not in ("", str(NET.readlink()))
    assert joined.stdout.strip() == link
    assert kind != "user" or uid == "0"


def test_trying_for_a_tap_device_changes_nothing_here() -> None:
    before = NET.readlink()
    found = namespace.can_have_tap()
    assert NET.readlink() == before
    assert bool(found) == (found.reason == "")
    assert bool(found) == (found.fix == "")


@pytest.mark.parametrize(
    ("error", "reason", "fix"),
    [
        (FileNotFoundError(), "/dev/net/tun does not exist", "modprobe tun"),
        (PermissionError(), "/dev/net/tun may not be opened", "run as root"),
        (OSError(22, "Invalid argument"), "the kernel refuses a TAP device: Invalid argument", "NET_ADMIN"),
    ],
)
def test_why_there_is_no_tap_device(error: OSError, reason: str, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, mac: str, address: str, mtu: int) -> int:
        raise error

    monkeypatch.setattr(namespace, "enter_fresh", lambda: None)
    monkeypatch.setattr(interface, "make_tap", refuse)
    found = namespace.can_have_tap()
    assert not found
    assert found.reason == reason
    assert fix in found.fix


def test_why_there_is_no_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(namespace, "enter_fresh", refuse)
    found = namespace.can_have_tap()
    assert found.reason == "no network namespace: Operation not permitted"
    assert "user.max_user_namespaces" in found.fix


def test_a_trial_that_falls_over_is_no_yes(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def fall_over() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(namespace, "enter_fresh", fall_over)
    found = namespace.can_have_tap()
    assert not found
    assert found.reason == "the trial ended without a word"
    capfd.readouterr()
