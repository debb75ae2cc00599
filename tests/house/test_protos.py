"""The committed generated code is what the contract generates."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "proto" / "gen"


def tree(top: Path) -> dict[str, str]:
    return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*.py*") if path.suffix != ".pyc"}


def test_generated_code_has_not_drifted_from_the_contract(tmp_path: Path) -> None:
    subprocess.run(["sh", str(ROOT / "deploy" / "protos.sh"), str(tmp_path)], check=True)
    made, committed = tree(tmp_path), tree(GENERATED)
    assert made.keys() == committed.keys(), "run `make protos`"
    assert [name for name in made if made[name] != committed[name]] == [], "run `make protos`"
