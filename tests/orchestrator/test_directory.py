from __future__ import annotations

import os
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import MachineError, MeshStateError
from dlibos_orchestrator.runtime import directory
from dlibos_orchestrator.runtime.directory import base_directory, locked, make_base, mesh_directory


def test_where_meshes_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", "/d")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert base_directory() == Path("/d")
    monkeypatch.delenv("DLIBOS_RUNTIME_DIR")
    assert base_directory() == tmp_path / "dlibos"
    for useless in ("/no/such", None):
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        if useless:
            monkeypatch.setenv("XDG_RUNTIME_DIR", useless)
        assert base_directory().name == f"dlibos-{os.getuid()}"


def test_the_session_directory_of_another_user_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DLIBOS_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert base_directory().name == f"dlibos-{os.getuid()}"


def test_the_directory_is_the_owners_alone(runtime_directory: Path) -> None:
    mesh_directory("m").create()
    assert (runtime_directory / "m").stat().st_mode & 0o777 == 0o700


def test_the_desired_state_comes_back(runtime_directory: Path) -> None:
    home = mesh_directory("m")
    home.create()
    home.write_mesh(mesh_pb2.Mesh(id="m-1", width=6))
    assert home.read_mesh() == mesh_pb2.Mesh(id="m-1", width=6)
    home.mesh_file.write_text('{"id": ')
    with pytest.raises(MeshStateError, match="run `dlibos down --name m`"):
        home.read_mesh()


def test_a_tile_that_has_not_spoken_has_no_status(runtime_directory: Path) -> None:
    home = mesh_directory("m")
    home.create()
    file = home.path / "status" / "0" / "status.json"
    assert home.read_status(0) is None
    file.parent.mkdir()
    file.write_text('{"tile": 0, "rea')
    assert home.read_status(0) is None
    file.write_text('{"ready": true}')
    assert home.read_status(0) == mesh_pb2.TileStatus(ready=True)


def test_a_base_that_others_can_write_is_refused(runtime_directory: Path) -> None:
    runtime_directory.chmod(0o777)
    with pytest.raises(MachineError, match="only you can write"):
        make_base()


def test_a_base_that_is_a_link_is_refused(
    runtime_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(runtime_directory)
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", str(link))
    with pytest.raises(MachineError, match="only you can write"):
        make_base()


def test_a_lock_keeps_others_away_and_leaves_no_file(runtime_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "LOCK_PATIENCE", 0.0)
    with locked("m"):
        with pytest.raises(MeshStateError, match="works on mesh 'm'"), locked("m"):
            pass
        with locked("other"):
            pass
    with locked("m"):
        pass
    assert list(runtime_directory.iterdir()) == []
