"""Fourth: share out the buckets over the stack tiles that stay, with least movement and one table at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dlibos_orchestrator.model.entries import changed
from dlibos_orchestrator.plan.actions import Kill, Write
from dlibos_orchestrator.plan.tokens import lost
from dlibos_orchestrator.plan.view import View


def spread(view: View) -> Write | Kill | None:
    """Return a better bucket table once the present one is in force; None when it is good, or is not in force yet."""
    late = next((tile for tile in view.live if not in_force(view, tile)), None)
    if late is not None:
        view.wait(f"tile {late} has not got all buckets it is to own yet, or has not given all away")
        return lost(view)
    stay = [tile for tile in view.stacks if _stays(view, tile)]
    owners = balanced(view.mesh.owners, stay, view.live)
    if owners == view.mesh.owners:
        return None
    expected = next((tile for tile in view.stacks if tile not in view.goal.leaving and view.coming(tile)), None)
    if expected is not None:
        view.wait(f"stack tile {expected} starts")
        return None
    if (apart := _unlinked(view)) is not None:
        view.wait(f"stack tiles {apart[0]} and {apart[1]} have no link yet")
        return None
    moved = sum(old != new for old, new in zip(view.mesh.owners, owners, strict=True))
    return Write(changed(view.mesh, owners=owners), f"{moved} buckets move, over stack tiles {_list(stay)}")


def in_force(view: View, tile: int) -> bool:
    """Whether a live stack tile knows the table and holds just what it says."""
    seen = view.seen(tile)
    return seen.spoken and seen.epoch == view.mesh.epoch and view.held(tile) == view.owned(tile)


def balanced(owners: bytes, stay: Sequence[int], live: Sequence[int]) -> bytes:
    """Return the table in which those that stay own equally many of the buckets that can move, and few move.

    Buckets of tiles that are not live stay where they are.
    """
    movable = [bucket for bucket, owner in enumerate(owners) if owner in live or owner in stay]
    if not stay or not movable:
        return owners
    quota = _quotas(Counter(owners[bucket] for bucket in movable), stay, len(movable))
    table, homeless = bytearray(owners), []
    for bucket in movable:
        if quota.get(owners[bucket], 0) > 0:
            quota[owners[bucket]] -= 1
        else:
            homeless.append(bucket)
    takers = [tile for tile in stay for _ in range(quota[tile])]
    for bucket, taker in zip(homeless, takers, strict=True):
        table[bucket] = taker
    return bytes(table)


def _quotas(now: Counter[int], stay: Sequence[int], count: int) -> dict[int, int]:
    """Who has most keeps one more where it does not come out even."""
    base, more = divmod(count, len(stay))
    ranked = sorted(stay, key=lambda tile: (-now[tile], tile))
    return {tile: base + (place < more) for place, tile in enumerate(ranked)}


def _stays(view: View, tile: int) -> bool:
    leaves = tile in view.goal.leaving or tile in view.restarting or view.entries[tile].draining
    return not leaves and view.up(tile)


def _unlinked(view: View) -> tuple[int, int] | None:
    """A tile that dies later is known to be settled with only if its links have been seen."""
    for one in view.live:
        for other in view.live:
            if one != other and other not in view.seen(one).linked:
                return one, other
    return None


def _list(tiles: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(tiles)))
