"""`python -m dlibos_orchestrator.serve --dir DIR`: the orchestrator of the mesh whose directory is DIR, and its bus."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dlibos_orchestrator.errors import OrchestratorError
from dlibos_orchestrator.runtime.directory import MeshDirectory
from dlibos_orchestrator.runtime.tiles import Runtime
from dlibos_orchestrator.serve import brokers
from dlibos_orchestrator.serve.orchestrator import Orchestrator


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; 1 when there is no mesh to serve, or no bus to be had."""
    parser = argparse.ArgumentParser(prog="serve", description="The orchestrator of a DLibOS mesh.")
    parser.add_argument("--dir", required=True, type=Path, help="the mesh's directory, made by `dlibos up`")
    parser.add_argument(
        "--broker", choices=brokers.KINDS, help="the bus; mosquitto where it was that before, else embedded"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    directory = MeshDirectory(options.dir)
    try:
        tiles = Runtime(directory)
        asyncio.run(serve(directory, tiles, options.broker))
    except (OrchestratorError, OSError) as error:
        print(f"dlibos: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


async def serve(directory: MeshDirectory, tiles: Runtime, kind: str | None) -> None:
    """Run the bus and the orchestrator until SIGTERM; OSError when there can be no bus."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    mesh = directory.read_mesh()
    mesh_key = brokers.mesh_key(directory, mesh)
    broker = brokers.make(kind, directory, mesh, mesh_key)
    orchestrator = Orchestrator(directory, tiles, mesh_key)
    working = asyncio.gather(orchestrator.run(), broker.start())  # tiles are started before there is a bus
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
        await broker.stop()
        tiles.close()


if __name__ == "__main__":
    sys.exit(main())
