"""What counts as blocked, and what does not: refused for another reason, noticed by a client, never refused at all."""

from __future__ import annotations

import pytest

from dlibos_orchestrator.attack.catalogue import Attack
from dlibos_orchestrator.attack.verdict import (
    PROTECTED,
    UNPROTECTED,
    Answer,
    Clients,
    Evidence,
    Observation,
    Result,
    Row,
    judge,
    summary,
)

SERVED = Clients(requests=8)
REFUSED = Answer((("pwrite", "EPERM"),), reached=False)


def attack(*expects: str, must: bool = True) -> Attack:
    return Attack("app-rx-pwrite", "app", "write", "a seal", frozenset(expects or ("EPERM",)), must)


def test_blocked_by_what_the_evidence_says() -> None:
    result = judge(attack(), PROTECTED, Observation(REFUSED, clients=SERVED))
    assert result == Result(True, "EPERM (pwrite)", SERVED)


def test_a_refusal_that_a_tile_counted_is_evidence() -> None:
    counted = (Evidence("foreign_partition", "fault of stack tile 2"),)
    seen = Observation(Answer((("SEND", "sent"),)), counted, SERVED)
    result = judge(attack("foreign_partition"), PROTECTED, seen)
    assert result.ok
    assert result.text == "foreign_partition (fault of stack tile 2)"


def test_blocked_for_the_wrong_reason_is_not_blocked() -> None:
    seen = Observation(Answer((("open", "ENOENT"),), reached=False), clients=SERVED)
    result = judge(attack(), PROTECTED, seen)
    assert not result.ok
    assert result.text == "NOT AS EXPECTED: ENOENT (open)"


@pytest.mark.parametrize("word", ["sent", "OK", "up", "closed", "waited", "nothing", "found"])
def test_a_step_without_a_refusal_is_no_evidence_even_if_expected(word: str) -> None:
    seen = Observation(Answer((("SEND", word),)), clients=SERVED)
    result = judge(attack(word), PROTECTED, seen)
    assert (result.ok, result.text) == (False, "NOT AS EXPECTED: no refusal was seen")


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (Observation(REFUSED._replace(reached=True), clients=SERVED), "it reached its aim"),
        (Observation(REFUSED, clients=SERVED, leaked=True), "it read a secret"),
        (Observation(REFUSED, clients=Clients(8, 1, "short answer")), "1 client errors, the last: short answer"),
        (Observation(REFUSED, clients=Clients()), "no client was served meanwhile"),
        (Observation(REFUSED, clients=SERVED, damage=("stack tile 2 ended",)), "stack tile 2 ended"),
        (Observation(Answer(error="KeyError: 5"), clients=SERVED), "the attack fell over: KeyError: 5"),
    ],
)
def test_a_refusal_does_not_make_up_for_harm(seen: Observation, why: str) -> None:
    result = judge(attack(), PROTECTED, seen)
    assert (result.ok, result.text) == (False, f"NOT BLOCKED: {why}")


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (Observation(Answer((("pwrite", "OK"),), True, "partition 1"), clients=SERVED), "succeeded: partition 1"),
        (Observation(Answer((("pwrite", "OK"),), True), clients=SERVED), "succeeded: pwrite"),
        (Observation(Answer(), clients=SERVED, leaked=True), "read a secret of the other domain"),
        (Observation(Answer(), clients=Clients(8, 2, "reset")), "2 client errors: reset"),
        (Observation(Answer(), damage=("stack tile 2 ended",)), "stack tile 2 ended"),
    ],
)
def test_unprotected_a_must_is_met_by_any_harm(seen: Observation, text: str) -> None:
    result = judge(attack(), UNPROTECTED, seen)
    assert (result.ok, result.text) == (True, text)


def test_unprotected_a_must_that_did_nothing_fails() -> None:
    obeyed = Observation(Answer((("SEND", "sent"),)), clients=SERVED)
    assert judge(attack(), UNPROTECTED, obeyed).text == "DID NOT SUCCEED: obeyed: nobody refused"
    assert not judge(attack(), UNPROTECTED, obeyed).ok
    assert not judge(attack(), UNPROTECTED, Observation(REFUSED, clients=SERVED)).ok
    assert not judge(attack(), UNPROTECTED, Observation(Answer(error="gone"), clients=SERVED)).ok


def test_unprotected_what_need_not_succeed_may_be_refused() -> None:
    result = judge(attack(must=False), UNPROTECTED, Observation(REFUSED, clients=SERVED))
    assert (result.ok, result.text) == (True, "as protected: EPERM (pwrite)")


def test_a_row_holds_only_if_every_mode_does() -> None:
    good, bad = Result(True, "", SERVED), Result(False, "", Clients(3, 1, "short"))
    rows = [
        Row(attack(), {PROTECTED: good, UNPROTECTED: good}),
        Row(attack(), {PROTECTED: bad, UNPROTECTED: good}),
        Row(attack(must=False), {PROTECTED: good, UNPROTECTED: bad}),
    ]
    assert [row.ok for row in rows] == [True, False, False]
    assert summary(rows) == (
        "2 of 3 blocked, 19 requests served meanwhile, 1 errors; unprotected: 2 of 2 that must succeed did"
    )
