"""What one attack came to. Pure: from what was seen, never from what was expected, to a row of the table.

An attack counts as blocked when it did not reach its aim, no honest client noticed it, nothing secret was read, the
mesh is as it was, and somebody's refusal, in words the catalogue expects, is on record. Refused for another reason it
may have been done wrongly, and does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from dlibos_orchestrator.attack.catalogue import Attack

NO_EVIDENCE: Final = frozenset({"OK", "sent", "found", "up", "closed", "nothing", "waited"})
"""Results of steps that tell of no refusal."""
SHOWN: Final = 2  # pieces of evidence in a cell

PROTECTED: Final = "protected"
UNPROTECTED: Final = "unprotected"


class Evidence(NamedTuple):
    """A refusal: its token, and where it was met: a system call, a dial, a tile's counter."""

    token: str
    where: str

    def __str__(self) -> str:
        return f"{self.token} ({self.where})"


class Answer(NamedTuple):
    """What the attacker says: steps with results, whether it reached its aim (None: cannot tell), what it read."""

    steps: tuple[tuple[str, str], ...] = ()
    reached: bool | None = None
    detail: str = ""
    read: tuple[str, ...] = ()
    error: str = ""


class Clients(NamedTuple):
    """What the honest clients saw meanwhile."""

    requests: int = 0
    errors: int = 0
    last_error: str = ""


class Observation(NamedTuple):
    """All that was seen of one attack. `leaked`: secrets in what was read; `damage`: what is not as it was after it."""

    answer: Answer
    counted: tuple[Evidence, ...] = ()
    clients: Clients = Clients()
    leaked: bool = False
    damage: tuple[str, ...] = ()

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """All refusals, those of the kernel and of peers first."""
        steps = tuple(Evidence(result, what) for what, result in self.answer.steps if result not in NO_EVIDENCE)
        return (*steps, *self.counted)

    @property
    def succeeded(self) -> bool:
        """Whether the attack did what it should not have been able to do."""
        return self.answer.reached is True or self.leaked or self.clients.errors > 0 or bool(self.damage)


class Result(NamedTuple):
    """One cell of the table: whether it is as it must be, and what happened, in words."""

    ok: bool
    text: str
    clients: Clients


def judge(attack: Attack, mode: str, seen: Observation) -> Result:
    """Return what an attack came to in a mode."""
    return _protected(attack, seen) if mode == PROTECTED else _unprotected(attack, seen)


def _protected(attack: Attack, seen: Observation) -> Result:
    fitting = [evidence for evidence in seen.evidence if evidence.token in attack.expects]
    wrong = _wrong(seen)
    if wrong:
        return Result(False, f"NOT BLOCKED: {'; '.join(wrong)}", seen.clients)
    if not fitting:
        other = _words(seen.evidence) or "no refusal was seen"
        return Result(False, f"NOT AS EXPECTED: {other}", seen.clients)
    return Result(True, _words(fitting), seen.clients)


def _wrong(seen: Observation) -> list[str]:
    """Return everything that must not be, whatever stopped the attack."""
    found = [f"the attack fell over: {seen.answer.error}"] if seen.answer.error else []
    if seen.answer.reached:
        found.append(f"it reached its aim {seen.answer.detail}".strip())
    if seen.leaked:
        found.append("it read a secret")
    if seen.clients.errors:
        found.append(f"{seen.clients.errors} client errors, the last: {seen.clients.last_error}")
    if not seen.clients.requests:
        found.append("no client was served meanwhile")
    return [*found, *seen.damage]


def _unprotected(attack: Attack, seen: Observation) -> Result:
    if seen.answer.error:
        return Result(False, f"the attack fell over: {seen.answer.error}", seen.clients)
    text = "; ".join([*_effects(seen), *seen.damage])
    if not text:
        text = f"as protected: {_words(seen.evidence)}" if seen.evidence else "obeyed: nobody refused"
    if attack.must and not seen.succeeded:
        return Result(False, f"DID NOT SUCCEED: {text}", seen.clients)
    return Result(True, text, seen.clients)


def _effects(seen: Observation) -> list[str]:
    found = []
    if seen.answer.reached:
        found.append(f"succeeded: {seen.answer.detail or _tried(seen.answer)}")
    if seen.leaked:
        found.append("read a secret of the other domain")
    if seen.clients.errors:
        found.append(f"{seen.clients.errors} client errors: {seen.clients.last_error}")
    return found


def _tried(answer: Answer) -> str:
    return ", ".join(what for what, _ in answer.steps)


def _words(evidence: Sequence[Evidence]) -> str:
    return ", ".join(dict.fromkeys(str(one) for one in evidence[:SHOWN]))


class Row(NamedTuple):
    """One attack in all modes that were run."""

    attack: Attack
    results: dict[str, Result]

    @property
    def ok(self) -> bool:
        """Whether it came to what it must in every mode."""
        return all(result.ok for result in self.results.values())


def summary(rows: Sequence[Row]) -> str:
    """Return the line that sums the table up."""
    parts = []
    if protected := [row.results[PROTECTED] for row in rows if PROTECTED in row.results]:
        errors = sum(result.clients.errors for result in protected)
        requests = sum(result.clients.requests for result in protected)
        blocked = sum(result.ok for result in protected)
        parts.append(f"{blocked} of {len(protected)} blocked, {requests} requests served meanwhile, {errors} errors")
    if free := [row for row in rows if UNPROTECTED in row.results]:
        musts = [row for row in free if row.attack.must]
        done = sum(row.results[UNPROTECTED].ok for row in musts)
        parts.append(f"unprotected: {done} of {len(musts)} that must succeed did")
    return "; ".join(parts)
