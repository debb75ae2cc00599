"""The runner on a stage that is not there: what it puts together, and when it asks for a fresh mesh."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dlibos_orchestrator.attack import run
from dlibos_orchestrator.attack.catalogue import Attack
from dlibos_orchestrator.attack.page import Secrets
from dlibos_orchestrator.attack.stage import Stage
from dlibos_orchestrator.attack.verdict import PROTECTED, UNPROTECTED, Answer, Clients, Evidence
from dlibos_orchestrator.errors import MachineError
from dlibos_orchestrator.runtime import namespace
from dlibos_orchestrator.runtime.namespace import Availability

SECRETS = Secrets("DLIBOS-CANARY-" + "a" * 32, "DLIBOS-CANARY-" + "b" * 32)
ATTACK = Attack("app-join", "app", "join", "proof", frozenset({"EPERM"}), must=True)


class Happening(NamedTuple):
    """What the fake stage has come of one attack."""

    answer: Answer = Answer((("pwrite", "EPERM"),), reached=False)
    counted: tuple[Evidence, ...] = ()
    damage: tuple[str, ...] = ()
    errors: int = 0
    heard: bytes = b""


class FakeCrowd:
    """Clients that are served ten requests between two counts, with the errors of the happening."""

    def __init__(self) -> None:
        self.total = Clients()
        self.happening = Happening()

    def counts(self, rounds: int = 0, patience: float = 0.0) -> Clients:
        if rounds:
            errors = self.total.errors + self.happening.errors
            self.total = Clients(self.total.requests + 10, errors, "short answer" if errors else "")
        return self.total

    def heard(self, what: str, **words: object) -> bytes:
        return self.happening.heard if what == "hear" else b""

    def ask(self, what: str, **words: object) -> dict[str, Any]:
        return {}


class FakeStage(Stage):
    """Lets happen what it was given, attack by attack."""

    def __init__(self, happenings: Iterator[Happening]) -> None:
        self.secrets = SECRETS
        self.recorded = ()
        self.waited: list[Collection[str]] = []
        self._happenings = happenings
        self._fake = FakeCrowd()
        self.crowd = self._fake  # type: ignore[assignment]

    def order(self, who: str, name: str) -> Answer:
        self._fake.happening = next(self._happenings)
        return self._fake.happening.answer

    def aftermath(self, who: str, expected: Collection[str]) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
        self.waited.append(expected)
        return self._fake.happening.counted, self._fake.happening.damage

    def is_sound(self, seen: Clients) -> bool:
        return not seen.errors


def fake(*happenings: Happening) -> FakeStage:
    return FakeStage(iter(happenings))


def test_all_that_was_seen_is_put_together() -> None:
    stage = fake(Happening(counted=(Evidence("wrong_proof", "link"),), damage=("a tile ended",), errors=1))
    seen = run.observe(stage, ATTACK, PROTECTED)
    assert [str(evidence) for evidence in seen.evidence] == ["EPERM (pwrite)", "wrong_proof (link)"]
    assert seen.clients == Clients(10, 1, "short answer")
    assert seen.damage == ("a tile ended",)
    assert not seen.leaked


def test_only_a_real_secret_is_a_leak() -> None:
    almost = Answer(read=("DLIBOS-CANARY-" + "c" * 32,))
    assert not run.observe(fake(Happening(almost)), ATTACK, PROTECTED).leaked
    assert run.observe(fake(Happening(Answer(read=(SECRETS.request,)))), ATTACK, PROTECTED).leaked
    heard = Happening(Answer(), heard=SECRETS.page.encode())
    assert run.observe(fake(heard), ATTACK._replace(scene="client"), PROTECTED).leaked


def test_a_counter_is_waited_for_only_where_nothing_else_tells_of_a_refusal() -> None:
    silent = Happening(Answer((("SEND", "sent"),)))
    stage = fake(Happening(), silent, silent)
    run.observe(stage, ATTACK, PROTECTED)
    run.observe(stage, ATTACK, PROTECTED)
    run.observe(stage, ATTACK, UNPROTECTED)
    assert stage.waited == [(), frozenset({"EPERM"}), ()]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, FakeStage]]:
    """Let stages be fakes on which the third attack does damage; the answer says which were brought up."""
    made: list[tuple[str, FakeStage]] = []
    happenings = iter([Happening(), Happening(), Happening(damage=("a tile ended",)), Happening()] * 2)

    @contextmanager
    def stage(mode: str, root: Path, secrets: Secrets) -> Iterator[FakeStage]:
        made.append((mode, FakeStage(happenings)))
        yield made[-1][1]

    monkeypatch.setattr(run, "stage", stage)
    monkeypatch.setattr(namespace, "can_have_tap", lambda: Availability(True))
    return made


def test_every_attack_gets_a_row_and_damage_a_fresh_mesh(stages: list[tuple[str, FakeStage]]) -> None:
    lines: list[str] = []
    rows = run.run([ATTACK] * 4, (PROTECTED, UNPROTECTED), lines.append)
    assert [row.results[PROTECTED].ok for row in rows] == [True, True, False, True]
    assert [row.results[UNPROTECTED].ok for row in rows] == [False, False, True, False]
    assert [mode for mode, _ in stages] == [PROTECTED, PROTECTED, UNPROTECTED, UNPROTECTED]
    assert lines[3] == "protected 3/4 app-join: FAILED: NOT BLOCKED: a tile ended"


def test_without_a_tap_device_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "can_have_tap", lambda: Availability(False, "no device", "modprobe tun"))
    with pytest.raises(MachineError, match="attack needs a kernel TAP device: no device; modprobe tun"):
        run.run([ATTACK], (PROTECTED,), lambda line: None)
