"""Refusals and buffers out of a tile's metrics."""

from __future__ import annotations

from dlibos_orchestrator.attack.counters import UNKNOWN, Refused, parse, together
from dlibos_orchestrator.attack.verdict import Evidence

TEXT = """\
# HELP dlibos_protection_faults_total Messages of other tiles that were refused.
# TYPE dlibos_protection_faults_total counter
dlibos_protection_faults_total{{tile="2",role="stack",source="5",reason="out_of_bounds"}} {faults}
dlibos_protection_faults_total{{tile="2",role="stack",source="1",reason="wrong_role"}} {faults}
dlibos_noc_refused_total{{tile="2",role="stack",reason="wrong_route"}} {refused}
dlibos_drops_total{{tile="2",role="stack",room="handover",reason="wrong_proof"}} {refused}
dlibos_drops_total{{tile="2",role="stack",room="tcp",reason="old_segment"}} {refused}
dlibos_buffers_in_use{{tile="2",role="stack",pool="tx"}} 3.0
dlibos_cpu_seconds_total{{tile="2",role="stack",mode="user"}} 1.5
"""


def text(faults: float, refused: float) -> str:
    return TEXT.format(faults=faults, refused=refused)


def test_what_tells_of_attacks_is_read_and_nothing_else() -> None:
    counts = parse(text(1.0, 2.0), 2, "stack")
    assert counts.buffers == {(2, "tx"): 3}
    assert counts.refused == {
        Refused(Evidence("out_of_bounds", "fault of stack tile 2"), 5): 1,
        Refused(Evidence("wrong_role", "fault of stack tile 2"), 1): 1,
        Refused(Evidence("wrong_route", "link of stack tile 2"), UNKNOWN): 2,
        Refused(Evidence("wrong_proof", "handover of stack tile 2"), UNKNOWN): 2,
    }


def test_only_what_is_new_and_laid_to_the_attacker_is_evidence() -> None:
    before, after = parse(text(1.0, 2.0), 2, "stack"), parse(text(4.0, 2.0), 2, "stack")
    assert after.since(before, 5) == (Evidence("out_of_bounds", "fault of stack tile 2"),)
    assert after.since(before, 1) == (Evidence("wrong_role", "fault of stack tile 2"),)
    assert after.since(before, 3) == ()
    assert parse(text(1.0, 3.0), 2, "stack").since(before, 3) == (
        Evidence("wrong_route", "link of stack tile 2"),
        Evidence("wrong_proof", "handover of stack tile 2"),
    )


def test_the_counts_of_several_tiles_keep_apart() -> None:
    both = together([parse(text(1.0, 0.0), 2, "stack"), parse(text(1.0, 0.0), 3, "stack")])
    assert both.buffers == {(2, "tx"): 3, (3, "tx"): 3}
    assert Refused(Evidence("out_of_bounds", "fault of stack tile 3"), 5) in both.refused
