"""docs/hardening.md names what the code does: groups of system calls, mechanisms, descriptors of every role."""

from __future__ import annotations

import re
from pathlib import Path

from dlibos_node.hardening.profile import DESCRIPTORS
from dlibos_node.hardening.syscalls import CHECKED, DENIED

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "hardening.md").read_text()


def test_every_group_of_system_calls_is_there_with_its_reason() -> None:
    table = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", TEXT.partition("## System calls")[2], re.MULTILINE)
    documented = {what: set(re.findall(r"\w+", such)) for what, such in table}
    for reason, group in DENIED.items():
        assert documented[reason] & group.keys(), f"no example of: {reason}"


def test_every_checked_call_is_there() -> None:
    named = set(re.findall(r"`(\w+)`", TEXT)) | {"rt_sigqueueinfo", "rt_tgsigqueueinfo"}  # "and their like"
    assert CHECKED.keys() <= named


def test_every_kind_of_descriptor_is_there() -> None:
    table = TEXT.partition("## Descriptors, by role")[2].partition("\n## ")[0]
    for role, kinds in DESCRIPTORS.items():
        rows = [row for row in table.splitlines() if row.startswith((f"| {role} |", "| every |"))]
        documented = set(re.findall(r"`([a-z]+)`", " ".join(rows)))
        assert kinds <= documented, role
