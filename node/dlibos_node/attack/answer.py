"""What an attacker was told to do and what came of it, as it crosses the control socket: one JSON line each way."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

OK: Final = "OK"


class Order(NamedTuple):
    """What the attacker is told besides the attack's name; an attacker in earnest would find it out by trying.

    `pids`: process ids by tile. `canary`: how the other domain's secrets begin. `status`: the status file of the
    victim's application tile. `root`: the directory it serves. `recorded`: frames of a handshake that went well.
    """

    pids: Mapping[int, int]
    canary: bytes
    status: str
    root: str
    recorded: tuple[bytes, ...]

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Order:
        """Return what the "order" of a request says; what is left out is empty."""
        return cls(
            {int(tile): int(pid) for tile, pid in words.get("pids", {}).items()},
            str(words.get("canary", "")).encode(),
            str(words.get("status", "")),
            str(words.get("root", "")),
            tuple(bytes.fromhex(frame) for frame in words.get("recorded", ())),
        )


class Step(NamedTuple):
    """One thing that was tried and its result: OK, the name of an errno, a gRPC status, a reason that was answered."""

    what: str
    result: str


class Answer(NamedTuple):
    """`reached`: whether the aim was reached, None where that cannot be seen from inside; `read`: secrets found."""

    steps: tuple[Step, ...] = ()
    reached: bool | None = None
    detail: str = ""
    read: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as the control socket carries it."""
        return {**self._asdict(), "steps": [list(step) for step in self.steps], "read": list(self.read)}


def attempt(what: str, call: Callable[[], object]) -> tuple[Step, Any]:
    """Make a call; return its step, and what it returned, None where the kernel refused it."""
    try:
        return Step(what, OK), call()
    except OSError as error:
        return Step(what, errno.errorcode.get(error.errno or 0, str(error))), None
