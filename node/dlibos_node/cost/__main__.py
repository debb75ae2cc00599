"""`python -m dlibos_node.cost`: measure, and print the raw figures as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from dlibos_node.agent import compiled
from dlibos_node.cost import mapping, syscalls
from dlibos_node.cost.measure import Load, measure
from dlibos_node.errors import DlibosError
from dlibos_node.memory.calibration import costs


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; 1 and a line on stderr when they could not be had."""
    parser = argparse.ArgumentParser(prog="dlibos_node.cost", description="What protection costs, in one process.")
    parser.add_argument("--rounds", type=int, default=12, help="with new chips each")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--turns", type=int, default=25, help="of each variation in a round")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the turns")
    options = parser.parse_args(arguments)
    load = Load(options.connections, options.turns)
    try:
        with tempfile.TemporaryDirectory(prefix="dlibos-cost-") as folder:
            rounds = measure(options.rounds, load, options.seed, Path(folder))
            once = mapping.measure(Path(folder))
        calls = syscalls.measure()
    except (DlibosError, OSError) as error:
        print(f"dlibos: cost of protection: {error}", file=sys.stderr)
        return 1
    core = "compiled" if compiled() else "pure Python"
    found = {"us_per_request": rounds, "mapping_ms": once, "readv_writev_ns": calls, "check_seconds": costs()}
    print(json.dumps({"core": core, **load._asdict(), "seed": options.seed, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
