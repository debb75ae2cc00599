"""All attacks by the role of the tile that performs them, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from dlibos_node.attack import app, ask, control_plane, dial, driver, hoard, links, memory, process, stack
from dlibos_node.attack.answer import Answer, Order
from dlibos_node.attack.tile import CompromisedTile

Attack = Callable[[CompromisedTile, Order], Answer | Awaitable[Answer]]

ROLES: Final = ("app", "stack", "driver")
OF_ONE_ROLE: Final[Mapping[str, Mapping[str, Attack]]] = {
    "app": {**app.ATTACKS, **hoard.ATTACKS, "record": dial.record, "relent": hoard.relent},
    "stack": stack.ATTACKS,
    "driver": driver.ATTACKS,
}
PREPARATIONS: Final = frozenset({"record", "relent", "links"})
"""What a runner orders around attacks; no attack in itself."""


def of_role(role: str) -> dict[str, Attack]:
    """Return what a compromised tile of a role can be ordered to do."""
    return {
        **memory.attacks(role),
        **process.attacks(role),
        **control_plane.attacks(role),
        **ask.attacks(role),
        **dial.attacks(role),
        **links.attacks(role),
        **OF_ONE_ROLE[role],
        "links": links.links,
    }


def names(role: str) -> set[str]:
    """Return the names of the attacks of a role."""
    return set(of_role(role)) - PREPARATIONS
