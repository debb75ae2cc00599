"""Who holds which bucket when a stack process is born, for it is born with all that the table gives it.

There must never be two holders of a bucket. So a dead stack tile is started only when each bucket that it is to get is
known to be held by no live one. A live stack tile is believed once it is settled with the dead one: it has noticed that
the link is down, so that nothing more passes between the two, and has said what it holds since. A bucket that nobody
claims and that the table gives to a live stack tile may be on its way between two live ones: it counts as lost only
when all know the table and have been heard some time after the last of them changed.

A link between two stack tiles that goes down and comes up again while both live is not told from one that stays up.
"""

from __future__ import annotations

from typing import Final

from dlibos_orchestrator.model.entries import changed, evenly, owned
from dlibos_orchestrator.plan.actions import Kill, Start, Write
from dlibos_orchestrator.plan.view import View

FLIGHT: Final = 1.0  # seconds after which what was sent between two live tiles has arrived, and has been said
LOST: Final = 10.0  # seconds without any change after which a bucket that nobody holds is lost


def birth(view: View, tile: int) -> Write | Start | None:
    """Return the start of a dead stack tile, or the table that must be written before; None: it is not known yet."""
    silent = [other for other in view.live if not view.seen(other).spoken]
    unsettled = [other for other in view.live if other not in silent and not settled(view, other, tile)]
    if unsettled:
        until = view.seen(tile).ended + FLIGHT
        view.wait(f"tile {tile}: whether tile {unsettled[0]} has buckets of it is not known yet", until)
        return None
    if silent:
        # The table has not changed since they were started, so what they were born with is not this tile's.
        if not view.owned(tile) & _claimed(view):
            return _start(view, tile)
        view.wait(f"tile {tile}: tile {silent[0]} has not said yet what it holds")
        return None
    owners = _shares(view, tile)
    if owners is None:
        view.wait(f"tile {tile}: buckets may be on their way between others", view.now + FLIGHT)
        return None
    if owners != view.mesh.owners:
        return Write(changed(view.mesh, owners=owners), f"what tile {tile} is to hold when it starts")
    return _start(view, tile)


def first_table(view: View) -> Write | None:
    """Return the table that tiles go by where the mesh says none (node/dlibos_node/config.py), written down."""
    if not view.stacks or len(view.mesh.owners) == view.buckets:
        return None
    return Write(changed(view.mesh, owners=evenly(view.stacks, view.buckets)), "a first bucket table")


def settled(view: View, live: int, dead: int) -> bool:
    """Whether what a live stack tile says it holds is what it has after its link with the dead one."""
    seen, ended = view.seen(live), view.seen(dead).ended
    if not seen.spoken or dead in seen.linked:
        return False
    # One that has never been ready may not have said yet that it was linked.
    return seen.ready or seen.started >= ended or seen.heard >= ended + FLIGHT


def unclaimed(view: View) -> int:
    """Return the buckets that no live stack tile says it holds."""
    return ((1 << view.buckets) - 1) & ~_claimed(view)


def lost(view: View) -> Kill | None:
    """Return the end of a stack tile that is to own a bucket which is nobody's for long: it is born again with it.

    All stack tiles must run and have applied the table.
    """
    missing = unclaimed(view)
    if not missing or len(view.live) < len(view.stacks):
        return None
    if any(not view.seen(tile).spoken or view.seen(tile).epoch != view.mesh.epoch for tile in view.live):
        return None
    quiet = max(view.seen(tile).changed for tile in view.live) + LOST
    if view.now < quiet or any(view.seen(tile).heard < quiet - LOST + FLIGHT for tile in view.live):
        view.wait("a bucket is held by no stack tile", quiet)
        return None
    owner = next((tile for tile in view.live if view.owned(tile) & missing), None)
    if owner is None:
        return None
    return Kill(owner, f"tile {owner} is to own a bucket that was lost; it is born anew with it")


def _start(view: View, tile: int) -> Start:
    return Start(tile, f"tile {tile} (stack) does not run")


def _claimed(view: View) -> int:
    claimed = 0
    for tile in view.live:
        claimed |= view.held(tile)
    return claimed


def _shares(view: View, tile: int) -> bytes | None:
    """Return the table with which the tile may be born; None while a bucket may be on its way."""
    owners = bytearray(view.mesh.owners)
    for holder in view.live:
        _give(owners, view.owned(tile) & view.held(holder), holder)
    orphans = unclaimed(view) & ~view.owned(tile)
    if not orphans:
        return bytes(owners)
    adopted = 0
    for owner, share in owned(view.mesh.owners).items():
        if not share & orphans or owner == tile or _comes_back(view, owner):
            continue
        if owner not in view.stacks or owner in view.live:
            if not _quiet(view, tile):
                return None
        elif not all(settled(view, other, owner) for other in view.live):
            continue
        adopted |= share & orphans
    _give(owners, adopted, tile)
    return bytes(owners)


def _comes_back(view: View, owner: int) -> bool:
    """Whether a dead stack tile may be started now too, and so brings back what it is to own."""
    return owner in view.stacks and owner not in view.live and view.now >= view.due(owner)


def _quiet(view: View, tile: int) -> bool:
    """Whether nothing moves between live stack tiles: all know the table, and have been heard since the last change.

    A tile that stood still may speak before it has read what came meanwhile.
    """
    live = [view.seen(other) for other in view.live]
    since = max([view.seen(tile).ended, *(seen.changed for seen in live), *(seen.awake for seen in live)])
    return all(seen.epoch == view.mesh.epoch and seen.heard >= since + FLIGHT for seen in live)


def _give(owners: bytearray, share: int, tile: int) -> None:
    bucket = 0
    while share:
        skip = (share & -share).bit_length() - 1
        bucket += skip
        owners[bucket] = tile
        share >>= skip + 1
        bucket += 1
