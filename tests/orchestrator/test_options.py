from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.options import MeshOptions


def test_the_defaults_can_be() -> None:
    MeshOptions().check()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (MeshOptions(driver=0), "--driver 0: a mesh needs at least one driver tile; use --driver 1"),
        (MeshOptions(stack=0), "at least one stack tile"),
        (MeshOptions(app=0), "at least one app tile"),
        (MeshOptions(width=2, height=2, idle=3), "6 tiles do not fit on a 2x2 mesh; ask for fewer, or for --mesh 3x3"),
        (MeshOptions(width=0), "each side must be 1 to 16"),
        (MeshOptions(width=17), "each side must be 1 to 16"),
        (MeshOptions(app_kind="wob"), "unknown kind of application 'wob'; known: web"),
        (MeshOptions(root=Path("/no/such")), "--root /no/such is not a directory"),
        (MeshOptions(pcap=Path("/no/such")), "--pcap /no/such is not a directory"),
        (MeshOptions(name="../x"), "use 1 to 32 of a-z"),
        (MeshOptions(name=""), "use 1 to 32 of a-z"),
        (MeshOptions(name="a" * 33), "use 1 to 32 of a-z"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_with_the_fix(options: MeshOptions, words: str) -> None:
    with pytest.raises(UsageError) as refusal:
        options.check()
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_root_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MeshOptions(root=tmp_path).check()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may enter everything
    with pytest.raises(UsageError, match="may not be entered by you; chmod"):
        MeshOptions(root=tmp_path).check()


def test_a_full_mesh_fits() -> None:
    replace(MeshOptions(), driver=4, stack=8, app=16, idle=8).check()
