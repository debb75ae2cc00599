"""The suite: every attack in every mode, each while honest clients are served, and what was seen of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from dlibos_orchestrator.attack.catalogue import Attack
from dlibos_orchestrator.attack.page import Secrets
from dlibos_orchestrator.attack.scenes import SCENES
from dlibos_orchestrator.attack.stage import Stage, stage
from dlibos_orchestrator.attack.verdict import PROTECTED, Clients, Observation, Result, Row, judge
from dlibos_orchestrator.errors import MachineError
from dlibos_orchestrator.runtime import namespace

ROUNDS: Final = 2  # requests of every client after each attack
SERVED_SECONDS: Final = 5.0  # within which they must be served

Notice = Callable[[str], None]


def run(attacks: Sequence[Attack], modes: Sequence[str], notice: Notice) -> list[Row]:
    """Perform attacks in modes; nothing is left in the end. MachineError where no TAP device can be had."""
    if not (found := namespace.can_have_tap()):
        raise MachineError(f"attack needs a kernel TAP device: {found.reason}; {found.fix}")
    results: dict[str, list[Result]] = {}
    with tempfile.TemporaryDirectory(prefix="dlibos-attack-") as folder:
        for mode in modes:
            results[mode] = list(_perform(attacks, mode, Path(folder) / mode, notice))
    return [Row(attack, {mode: results[mode][i] for mode in modes}) for i, attack in enumerate(attacks)]


def _perform(attacks: Sequence[Attack], mode: str, root: Path, notice: Notice) -> Iterator[Result]:
    secrets = Secrets.draw()
    secrets.write(root)
    notice(f"{mode}: {len(attacks)} attacks")
    with Stages(mode, root, secrets) as stages:
        for number, attack in enumerate(attacks, 1):
            seen = observe(stages.current(), attack, mode)
            result = judge(attack, mode, seen)
            notice(f"{mode} {number}/{len(attacks)} {attack.name}: {'' if result.ok else 'FAILED: '}{result.text}")
            if seen.damage or seen.answer.error or not stages.current().is_sound(seen.clients):
                stages.discard()
            yield result


class Stages:
    """A stage, and another one where an attack has damaged it."""

    def __init__(self, mode: str, root: Path, secrets: Secrets) -> None:
        self._make: Callable[[], AbstractContextManager[Stage]] = partial(stage, mode, root, secrets)
        self._stack = ExitStack()
        self._current: Stage | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *error: object) -> None:
        self.discard()

    def current(self) -> Stage:
        """Return the stage, brought up when there is none."""
        if self._current is None:
            self._current = self._stack.enter_context(self._make())
        return self._current

    def discard(self) -> None:
        """Take the stage down."""
        self._current = None
        self._stack.close()


def observe(stage: Stage, attack: Attack, mode: str) -> Observation:
    """Perform one attack and return all that was seen of it."""
    clients = stage.crowd.counts()
    answer, heard = SCENES[attack.scene](stage, attack)
    served = stage.crowd.counts(ROUNDS, SERVED_SECONDS)
    expected = attack.expects if mode == PROTECTED and not _is_told(answer.steps, attack) else ()
    counted, damage = stage.aftermath(attack.by, expected)
    return Observation(answer, counted, _since(clients, served), stage.secrets.among((answer.read, heard)), damage)


def _is_told(steps: Sequence[tuple[str, str]], attack: Attack) -> bool:
    """Tell whether the attacker itself was told what is expected: then no counter need be waited for."""
    return any(result in attack.expects for _, result in steps)


def _since(before: Clients, after: Clients) -> Clients:
    errors = after.errors - before.errors
    return Clients(after.requests - before.requests, errors, after.last_error if errors else "")
