"""CPU time per request with protection's parts switched on one after the other.

    bare ──► mapped ──► leased ──► checked          bare = unprotected, checked = protected
      mapping    leases     checks

In each round a chip of every variation is built and connected. Then they take turns, four batches of requests each and
in an order drawn anew every time, so that what else the machine does falls on all alike. A turn counts the CPU time of
the server's side alone; a round's figure is the median of its turns. New chips for every round, built in an order drawn
anew too, so that none keeps a place in memory that happens to suit it. The whole is measured by two chips of its own:
that the parts add up to it is a finding then, not arithmetic.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from pathlib import Path
from typing import Final, NamedTuple

from dlibos_node.config import interface_address, mac_address
from dlibos_node.cost.chip import ADDRESS, MAC, Chip, FusedChip, Switches
from dlibos_node.cost.client import Clients
from dlibos_node.errors import MeasurementError

STEPS: Final = {
    "bare": Switches(mapping=False, leases=False, checks=False),
    "mapped": Switches(mapping=True, leases=False, checks=False),
    "leased": Switches(mapping=True, leases=True, checks=False),
    "checked": Switches(mapping=True, leases=True, checks=True),
    # The whole, once more and apart from the steps.
    "unprotected": Switches(mapping=False, leases=False, checks=False),
    "protected": Switches(mapping=True, leases=True, checks=True),
}
FUSED: Final = "fused"
BATCHES: Final = 4  # of one turn
WARM_UP: Final = 4  # batches after which pages are touched and the web server knows the request
PAGE: Final = b"<!doctype html><html lang=en><title>cost</title><p>".ljust(127, b".") + b"\n"


class Load(NamedTuple):
    """The load: requests come in batches of one on each of `connections`; `turns` of each chip in a round."""

    connections: int = 64
    turns: int = 25


class _Site(NamedTuple):
    """A chip and its clients."""

    chip: Chip | FusedChip
    clients: Clients

    def turn(self, batches: int) -> float:
        """Serve `batches` requests of each client; return the server's microseconds of CPU time per request."""
        spent = requests = 0
        for _ in range(batches):
            requests += self.clients.ask()
            before = time.process_time_ns()
            self.chip.run()
            spent += time.process_time_ns() - before
        if requests != batches * len(self.clients) or self.chip.refused:
            raise MeasurementError(
                f"{requests} of {batches * len(self.clients)} requests were answered, {self.chip.refused} messages "
                "refused: run `make test-fast`"
            )
        return spent / 1e3 / requests


def measure(rounds: int, load: Load, seed: int, root: Path) -> list[dict[str, float]]:
    """Return for each round the microseconds of CPU time per request by variation. MeasurementError."""
    (root / "index.html").write_bytes(PAGE)
    order = random.Random(seed)  # noqa: S311  # who comes first is no secret
    return [_round(load, order, str(root)) for _ in range(rounds)]


def _round(load: Load, order: random.Random, root: str) -> dict[str, float]:
    sites, turns = asyncio.run(_take_turns(load, order, root))
    for site in sites:  # when the loop has ended: no timer touches their memory any more
        site.chip.close()
    return {name: statistics.median(values) for name, values in turns.items()}


async def _take_turns(load: Load, order: random.Random, root: str) -> tuple[list[_Site], dict[str, list[float]]]:
    """A coroutine for the chips' sake, which need a running loop; nothing is awaited."""
    sites: dict[str, _Site] = {}
    for name in order.sample([*STEPS, FUSED], len(STEPS) + 1):  # who is built first lies elsewhere in memory
        chip = FusedChip(root) if name == FUSED else Chip(STEPS[name], root)
        sites[name] = _site(chip, load)
    turns: dict[str, list[float]] = {name: [] for name in sites}
    gc.collect()
    gc.disable()  # a tile makes no cycles per request, and collects once in many thousand allocations
    try:
        for _ in range(load.turns):
            for name in order.sample(list(sites), len(sites)):
                turns[name].append(sites[name].turn(BATCHES))
    finally:
        gc.enable()
    return list(sites.values()), turns


def _site(chip: Chip | FusedChip, load: Load) -> _Site:
    clients = Clients(
        chip.wire, mac_address(MAC, "mac"), int(interface_address(ADDRESS, "address").ip), load.connections
    )
    chip.run()
    site = _Site(chip, clients)
    site.turn(WARM_UP)
    return site
