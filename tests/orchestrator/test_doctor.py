from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dlibos_orchestrator.cli import doctor, main
from dlibos_orchestrator.runtime import namespace
from dlibos_orchestrator.runtime.namespace import Availability


def test_every_check_has_a_state_and_every_bad_one_a_fix(runtime_directory: Path) -> None:
    checks = doctor.examine()
    assert {check.state for check in checks} <= {doctor.OK, doctor.WARN, doctor.FAIL}
    assert all(bool(check.fix) == (check.state != doctor.OK) for check in checks)
    assert {"grpcio", "python", "TAP device", "memory", "open files", "left-over meshes", "wrk"} <= {
        c.name for c in checks
    }


def test_json_and_exit_code(
    runtime_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [doctor.Check("a", doctor.OK, "fine"), doctor.Check("b", doctor.WARN, "so so", "mend it")]
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    assert main.run(["doctor", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {"name": "b", "state": "warn", "detail": "so so", "fix": "mend it"}
    checks.append(doctor.Check("c", doctor.FAIL, "broken", "replace it"))
    assert main.run(["doctor"]) == 1
    assert "      " in (text := capsys.readouterr().out)
    assert "fix: replace it" in text


def test_a_library_that_cannot_be_imported() -> None:
    check = doctor.distribution("no-such-thing", "no_such_module")
    assert check.state == doctor.FAIL
    assert "no_such_module" in check.detail
    assert check.fix.endswith("-m pip install no-such-thing")


def test_no_tap_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "can_have_tap", lambda: Availability(ok=False, reason="why", fix="modprobe tun"))
    assert doctor.tap() == doctor.Check("TAP device", doctor.WARN, "why: only --nic user works", "modprobe tun")


def test_a_runtime_directory_that_cannot_be_used(runtime_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.runtime_directory().state == doctor.OK
    runtime_directory.chmod(0o777)
    assert "only you can write" in doctor.runtime_directory().detail
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", str(runtime_directory / ("x" * 90)))
    check = doctor.runtime_directory()
    assert check.state == doctor.FAIL
    assert "too long for unix sockets" in check.detail


def test_a_runtime_directory_that_cannot_be_looked_into_ends_no_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", str(tmp_path / ("x" * 300)))
    found = {check.name: check for check in doctor.examine()}
    assert found["runtime directory"].state == doctor.FAIL
    assert "File name too long" in found["left-over meshes"].detail


def test_a_directory_without_processes_is_left_over(runtime_directory: Path) -> None:
    assert doctor.left_over_meshes().state == doctor.OK
    (runtime_directory / "gone").mkdir()
    check = doctor.left_over_meshes()
    assert (check.state, check.detail) == (doctor.WARN, "gone")
    assert check.fix == f"DLIBOS_RUNTIME_DIR={runtime_directory} dlibos down --name gone"


def test_hardening_is_tried_and_what_is_missing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.hardening().state in {doctor.OK, doctor.WARN}
    outcomes = [
        {"mechanism": "seccomp", "state": "enforced", "detail": "90 calls", "fix": ""},
        {"mechanism": "landlock", "state": "not offered", "detail": "not in this kernel", "fix": "Linux 5.13"},
    ]
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, json.dumps(outcomes), "")
    )
    detail = "landlock not offered: not in this kernel"
    assert doctor.hardening() == doctor.Check("hardening", doctor.WARN, detail, "Linux 5.13")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "capset: failed\n"))
    assert doctor.hardening()[1:3] == (doctor.FAIL, "capset: failed")


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_where: None)
    assert doctor.program("nginx", "nginx-light").fix == "apt-get install nginx-light"
