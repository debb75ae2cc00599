from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dlibos_orchestrator.bench import nginx, programs
from dlibos_orchestrator.errors import MachineError, StartError

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a shell script in the place of a program; `unshare` comes first in the chain that becomes nginx."""
    monkeypatch.setattr(programs, "path_of", lambda program: str(tmp_path / program))

    def write(program: str, script: str) -> None:
        (tmp_path / program).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / program).chmod(0o755)

    return write


def test_the_configuration(tmp_path: Path) -> None:
    text = nginx.config(tmp_path / "nginx", tmp_path / "www")
    lines = ("master_process off;", "access_log off;", "sendfile on;", "worker_connections 10064;")
    assert all(line in text for line in lines)
    assert f"root {tmp_path}/www;" in text
    assert f"pid {tmp_path}/nginx/nginx.pid;" in text


def test_nginx_that_does_not_start_says_why(tmp_path: Path, install: Install) -> None:
    install("unshare", "echo 'nginx: [warn] so so'; echo 'nginx: [emerg] port taken' >&2; echo bye; exit 1")
    with (
        pytest.raises(StartError, match=r"nginx ended: nginx: \[emerg\] port taken"),
        nginx.serving(os.getpid(), tmp_path / "nginx", tmp_path),
    ):
        pytest.fail("it does not serve")


def test_no_veth_pair_ends_nginx_again(tmp_path: Path, install: Install) -> None:
    folder = tmp_path / "nginx"
    install("unshare", f"echo $$ > {folder}/new; mv {folder}/new {folder}/nginx.pid; exec sleep 60")
    install("ip", "cat > /dev/null; echo 'RTNETLINK answers: Operation not permitted' >&2; exit 1")
    with (
        pytest.raises(
            MachineError, match="between the mesh and nginx: ip: RTNETLINK answers: Operation not permitted; "
        ),
        nginx.serving(os.getpid(), tmp_path / "nginx", tmp_path),
    ):
        pytest.fail("it does not serve")
    pid = int((tmp_path / "nginx" / "nginx.pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_the_server_ends_with_its_use(tmp_path: Path, install: Install) -> None:
    install("unshare", f"echo $$ > {tmp_path}/nginx/nginx.pid; exec sleep 60")
    install("ip", f"cat >> {tmp_path}/lines")
    with nginx.serving(os.getpid(), tmp_path / "nginx", tmp_path) as pid:
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
    lines = (tmp_path / "lines").read_text().splitlines()
    assert lines[0] == f"link add veth-client type veth peer name veth-nginx netns {pid}"
    assert "address add 10.78.0.1/24 dev veth-client" in lines
    assert "address add 10.78.0.2/24 dev veth-nginx" in lines
