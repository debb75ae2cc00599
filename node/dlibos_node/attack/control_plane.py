"""Attacks on what makes the mesh what it is: its key, the files the orchestrator goes by, the nursery's socket."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from dlibos_node.attack import kernel
from dlibos_node.attack.answer import Answer, Order, attempt
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.identity import KEY

DESCRIPTORS: Final = range(3, 16)  # where the nursery's socket is: it opens little else

Attack = Callable[[CompromisedTile, Order], Answer]


def _mesh_directory(order: Order) -> Path:
    return Path(order.status).parents[2]


def key(tile: CompromisedTile, order: Order) -> Answer:
    """Read the mesh key: with it, it could pass for any tile and for the orchestrator."""
    del tile
    step, found = attempt("read mesh.key", (_mesh_directory(order) / "mesh.key").read_bytes)
    return Answer((step,), len(found or b"") == KEY)


def desired(tile: CompromisedTile, order: Order) -> Answer:
    """Open for writing what the mesh is to be: another role for itself, or all buckets. Nothing is written."""
    del tile
    steps, reached = [], False
    for name in ("mesh.json", "spec.json"):
        step, descriptor = attempt(f"open {name}", partial(os.open, _mesh_directory(order) / name, os.O_RDWR))
        steps.append(step)
        if descriptor is not None:
            os.close(descriptor)
            reached = True
    return Answer(tuple(steps), reached)


def nursery(tile: CompromisedTile, order: Order) -> Answer:
    """Take a copy of the socket over which its parent, the nursery, is told what to fork and gets credentials."""
    del tile, order
    step, pidfd = attempt("pidfd_open", lambda: os.pidfd_open(os.getppid()))
    if pidfd is None:
        return Answer((step,), False)
    steps, reached = [step], False
    for number in DESCRIPTORS:
        taking, taken = attempt("pidfd_getfd", partial(kernel.pidfd_getfd, pidfd, number))
        steps.append(taking)
        if taken is not None:
            reached = reached or stat.S_ISSOCK(os.fstat(taken).st_mode)
            os.close(taken)
    os.close(pidfd)
    return Answer(tuple(steps[:4]), reached)


ATTACKS: Final[dict[str, Attack]] = {"key": key, "desired": desired, "nursery": nursery}


def attacks(role: str) -> dict[str, Attack]:
    """Return the attacks by name, which are the same for every role."""
    return {f"{role}-{name}": attack for name, attack in ATTACKS.items()}
