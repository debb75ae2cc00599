"""The catalogue, and that both sides of the control protocol know the same attacks."""

from __future__ import annotations

import pytest

from dlibos_node.attack import outsider, suite
from dlibos_orchestrator.attack.catalogue import CATALOGUE, MEMORY, find
from dlibos_orchestrator.attack.scenes import SCENES
from dlibos_orchestrator.attack.verdict import NO_EVIDENCE
from dlibos_orchestrator.errors import UsageError


@pytest.mark.parametrize("role", suite.ROLES)
def test_a_compromised_tile_knows_the_attacks_of_its_role(role: str) -> None:
    assert suite.names(role) == {attack.name for attack in CATALOGUE if attack.by == role}


def test_the_outsider_knows_its_attacks() -> None:
    assert set(outsider.ATTACKS) == {attack.name for attack in CATALOGUE if attack.by == "outsider"}


def test_names_are_told_apart_and_scenes_are_there() -> None:
    names = [attack.name for attack in CATALOGUE]
    assert len(set(names)) == len(names)
    assert {attack.scene for attack in CATALOGUE} == set(SCENES)


def test_every_attack_can_be_blocked_by_evidence_alone() -> None:
    for attack in CATALOGUE:
        assert attack.expects, attack.name
        assert not attack.expects & NO_EVIDENCE, attack.name


def test_attacks_on_memory_must_succeed_unprotected_but_for_a_seal_that_mappings_forbid() -> None:
    assert {attack.name.rpartition("-")[2] for attack in MEMORY if not attack.must} == {"seal"}


def test_picking_attacks() -> None:
    assert find(()) == CATALOGUE
    assert [attack.name for attack in find(("app-join", "app-rx-write"))] == ["app-join", "app-rx-write"]
    with pytest.raises(UsageError, match="--only app-rx-writ: no such attack; did you mean app-rx-write"):
        find(("app-rx-writ",))
    with pytest.raises(UsageError, match="dlibos attack --list"):
        find(("zzz",))
