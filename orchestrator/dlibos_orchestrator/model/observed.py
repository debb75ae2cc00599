"""What is known of each tile, and how late, repeated and reordered words of it are folded in.

Three sources: the process table (`process`), the tile's retained word (`status`), its heartbeat (`load`). Each takes
what was known and gives what is known now; nothing here is ever forgotten on purpose except when a process ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2

GAP: Final = 2.5  # seconds; a tile speaks once a second, unless it or its machine stood still


class Observed(NamedTuple):
    """One tile. Times are monotonic seconds of the orchestrator's clock.

    While the bus itself is away `heard` must be kept at the present time: silence says nothing then.
    """

    tile: int
    alive: bool = False  # its process exists
    role: mesh_pb2.Role.ValueType = mesh_pb2.ROLE_UNSPECIFIED  # of the process; unspecified: not known
    incarnation: int = 0  # 0: the process has not spoken, and who looks has not started it
    ready: bool = False
    epoch: int = 0
    drained: bool = False
    held: bytes = b""  # bucket b is bit b % 8 of byte b // 8
    linked: frozenset[int] = frozenset()
    heard: float = 0.0  # its last word
    started: float = 0.0  # its process was first seen
    connections: int = 0
    busy: float = 0.0
    problem: str = ""
    pid: int = 0
    sequence: int = 0  # of its last TileStatus; 0: none of this process has come
    gone: bool = False  # its last will came after its last word
    ended: float = 0.0  # when the process before was first seen to be gone
    changed: float = 0.0  # when `held` or `epoch` last changed
    awake: float = 0.0  # since when it has spoken without a gap

    @property
    def spoken(self) -> bool:
        """Whether this process has said what it holds."""
        return self.alive and self.sequence > 0

    @property
    def up(self) -> bool:
        """Whether it can be counted on."""
        return self.spoken and self.ready and not self.gone


def process(
    before: Observed | None,
    tile: int,
    pid: int,
    now: float,
    role: mesh_pb2.Role.ValueType = mesh_pb2.ROLE_UNSPECIFIED,
    incarnation: int = 0,
) -> Observed:
    """Fold in the process table; `pid` 0: none runs. `role` and `incarnation` are said by who has just started it."""
    before = before or Observed(tile)
    if not pid:
        return _ended(before, now) if before.alive or not before.ended else before
    if before.alive and before.pid in (0, pid):
        return before._replace(pid=pid, incarnation=max(before.incarnation, incarnation), role=role or before.role)
    return Observed(
        tile, True, role, incarnation, heard=now, started=now, pid=pid, ended=before.ended, changed=now, awake=now
    )


def status(before: Observed | None, said: mesh_pb2.TileStatus, now: float) -> Observed | None:
    """Fold in what a tile said or its last will; None and `before` stand for "nothing is known"."""
    if before is None or not before.alive or said.incarnation < before.incarnation:
        return before
    if before.pid and said.pid and said.pid != before.pid:
        return before  # the retained word of the process that was the tile before
    if said.gone:
        return before._replace(gone=True) if said.incarnation == before.incarnation else before
    newer = said.incarnation > before.incarnation or said.sequence > before.sequence
    # After a will the same word may be published again: it takes the will back.
    if not newer and not (before.gone and said.sequence == before.sequence):
        return before
    return _told(before, said, now)


def load(before: Observed | None, said: mesh_pb2.TileLoad, now: float) -> Observed | None:
    """Fold in a heartbeat of the process that speaks; of any other: nothing."""
    if before is None or not before.alive or said.incarnation != before.incarnation:
        return before
    return before._replace(
        heard=now, busy=said.busy, connections=said.connections, gone=False, awake=_awake(before, now)
    )


def buckets(held: bytes) -> set[int]:
    """Return the buckets that a bitmap names."""
    return {place * 8 + bit for place, byte in enumerate(held) if byte for bit in range(8) if byte >> bit & 1}


def bitmap(held: Iterable[int], count: int) -> bytes:
    """Return the bitmap of some of `count` buckets."""
    bits = bytearray((count + 7) // 8)
    for bucket in held:
        bits[bucket // 8] |= 1 << bucket % 8
    return bytes(bits)


def _awake(before: Observed, now: float) -> float:
    return now if now > before.heard + GAP else before.awake


def _ended(before: Observed, now: float) -> Observed:
    return Observed(before.tile, incarnation=before.incarnation, ended=now, changed=now, problem=before.problem)


def _told(before: Observed, said: mesh_pb2.TileStatus, now: float) -> Observed:
    changed = said.held != before.held or said.epoch != before.epoch
    return before._replace(
        role=said.role or before.role,
        incarnation=said.incarnation,
        sequence=max(said.sequence, 1),
        ready=said.ready,
        epoch=said.epoch,
        drained=said.drained,
        held=said.held,
        linked=frozenset(said.linked),
        connections=said.connections,
        problem=said.problem,
        pid=before.pid or said.pid,
        gone=False,
        heard=now,
        awake=_awake(before, now),
        changed=now if changed else before.changed,
    )
