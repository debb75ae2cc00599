"""What the runner does around an attack: most need nothing but the order, some a client of the attacker's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dlibos_orchestrator.attack.catalogue import Attack
from dlibos_orchestrator.attack.stage import APPLICATION, DRIVER, Stage
from dlibos_orchestrator.attack.verdict import Answer

LISTENED: Final = 0.1  # seconds for what an attack brings to the attacker's client
CHANGED: Final = 16 * 1024  # bytes that `app-change-after-send` sends (node/dlibos_node/attack/app.py)
HOARDERS: Final = 160  # connections that are never read
SEGMENTS: Final = 10  # on each, as many as a client sends before the first is acknowledged: a buffer each
HOARDED: Final = 200  # buffers that a hoarder must have come to hold, or it did not hoard
POOL: Final = "rx_small_"

Scene = Callable[[Stage, Attack], tuple[Answer, bytes]]
"""Returns the attacker's answer, and what its own client has received."""


def plain(stage: Stage, attack: Attack) -> tuple[Answer, bytes]:
    """Give the order."""
    return stage.order(attack.by, attack.name), b""


def with_client(stage: Stage, attack: Attack) -> tuple[Answer, bytes]:
    """Give the order while the attacker has a connection of its own."""
    heard = stage.crowd.heard("connect", count=1)
    answer = stage.order(attack.by, attack.name)
    heard += stage.crowd.heard("hear", enough=1 << 20, patience=LISTENED)
    stage.crowd.ask("close")
    return answer, heard


def changed(stage: Stage, attack: Attack) -> tuple[Answer, bytes]:
    """See that bytes changed after they were sent reach the attacker's own client, whole and with a right checksum."""
    stage.crowd.heard("connect", count=1)
    answer = stage.order(attack.by, attack.name)
    heard = stage.crowd.heard("hear", enough=CHANGED, patience=1.0)
    stage.crowd.ask("close")
    stage.order(attack.by, "relent")
    whole = len(heard) == CHANGED and set(heard) <= set(b"AB")
    return _contained(answer, whole, f"{len(heard)} bytes, all of them to its own client"), heard


def hoarding_received(stage: Stage, attack: Attack) -> tuple[Answer, bytes]:
    """Let the attacker hold on to what its own clients send it, a buffer for each byte."""
    answer = stage.order(attack.by, attack.name)
    stage.crowd.ask("dial", count=HOARDERS)
    stage.crowd.ask("drip", segments=SEGMENTS)
    stage.crowd.counts(3, 3.0)
    pools = stage.counts().buffers
    mine, other = pools[DRIVER, f"{POOL}2"], pools[DRIVER, f"{POOL}1"]
    stage.order(attack.by, "relent")
    stage.crowd.ask("close")
    kept = f"its own domain has lost {mine} receive buffers, the other {other}"
    return _contained(answer, mine >= HOARDED and other < HOARDED, kept), b""


def hoarding_own(stage: Stage, attack: Attack) -> tuple[Answer, bytes]:
    """Let the attacker take all of its memory."""
    answer = stage.order(attack.by, attack.name)
    stage.crowd.counts(3, 3.0)
    other = stage.counts().buffers[APPLICATION, "app"]
    stage.order(attack.by, "relent")
    return _contained(answer, "0 bytes left" in answer.detail and other < HOARDED, answer.detail), b""


def _contained(answer: Answer, contained: bool, detail: str) -> Answer:
    """Add to an answer that the attack hit nobody but its own domain, if that was seen."""
    result = "contained" if contained else "sent"
    return answer._replace(steps=(*answer.steps, (detail, result)), detail=detail)


def replaying(stage: Stage, attack: Attack) -> tuple[Answer, bytes]:
    """Have a handshake recorded, and give the recording to the attacker."""
    recording = stage.order("app", "record")
    stage.recorded = recording.read
    answer = recording if recording.error else stage.order(attack.by, attack.name)
    stage.recorded = ()
    return answer, b""


SCENES: Final[dict[str, Scene]] = {
    "plain": plain,
    "client": with_client,
    "change": changed,
    "hoard-rx": hoarding_received,
    "hoard-app": hoarding_own,
    "replay": replaying,
}
