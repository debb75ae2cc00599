"""`python -m dlibos_node --dir DIR --tile N`: one tile of the mesh whose directory is DIR, as a process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from dlibos_node import __version__, identity
from dlibos_node.agent import FAILURES, Agent, explain
from dlibos_node.hardening.limits import close_inherited


def main(arguments: list[str] | None = None, make: type[Agent] = Agent) -> int:
    """Run the tile; 0 when it was told to stop, 1 when it could not be what it was asked to be."""
    parser = argparse.ArgumentParser(prog="dlibos_node", description="One tile of a DLibOS mesh.")
    parser.add_argument("--dir", type=Path, required=True, help="the mesh's directory, made by `dlibos up`")
    parser.add_argument("--tile", type=int, required=True, help="this tile's number, y * width + x")
    parser.add_argument("--incarnation", type=int, default=0, metavar="N", help="which process of this tile it is")
    parser.add_argument(
        "--credentials-fd", type=int, metavar="N", help="inherited descriptor that holds this tile's keys"
    )
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    parser.add_argument("--version", action="version", version=f"dlibos_node {__version__}")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=options.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        given = options.credentials_fd
        credentials = None if given is None else identity.receive(given, options.tile)
        agent = make(options.dir, options.tile, credentials)
        agent.status.incarnation = options.incarnation
        if agent.protected:
            close_inherited()
        asyncio.run(agent.run())
    except FAILURES as error:
        print(f"dlibos: tile {options.tile}: {explain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
