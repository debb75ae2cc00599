"""What is inherited is closed; descriptors are told by kind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dlibos_node.hardening.descriptors import descriptors


def run(program: str, *inherited: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, pass_fds=inherited
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_inherited_descriptors_are_closed_but_for_those_named() -> None:
    reader, writer = os.pipe()
    program = (
        "import os; from dlibos_node.hardening.limits import close_inherited;"
        f"print(close_inherited((0, 1, 2, {writer}))); os.write({writer}, b'x')"
    )
    try:
        assert run(program, reader, writer) == f"[{reader}]\n"
        assert os.read(reader, 1) == b"x"
    finally:
        os.close(reader)
        os.close(writer)


def test_no_core_file_can_be_left() -> None:
    program = (
        "import resource; from dlibos_node.hardening.limits import forbid_core_files; forbid_core_files();"
        "print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    assert run(program) == "(0, 0)\n"


def test_descriptors_by_kind(tmp_path: Path) -> None:
    before = descriptors(os.getpid())
    memory = os.memfd_create("dlibos-1")
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(tmp_path / "tile-0.log", os.O_WRONLY | os.O_CREAT)
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)):
        unix.bind(str(tmp_path / "sock"))
        found = descriptors(os.getpid()) - before
    for descriptor in (memory, null, log):
        os.close(descriptor)
    assert found == {"partition": 1, "null": 1, "log": 1, "unix": 1, "tcp": 1}


def test_what_is_of_no_known_kind_goes_by_its_path(tmp_path: Path) -> None:
    before = descriptors(os.getpid())
    with (tmp_path / "secret").open("w"):
        assert descriptors(os.getpid()) - before == {str(tmp_path / "secret"): 1}


def test_a_process_that_is_gone() -> None:
    with pytest.raises(OSError, match="No such"):
        descriptors(1 << 30)
