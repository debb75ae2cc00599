"""What one gRPC frame costs, with grpcio's event engine and without it: run by hand, `make bench-noc`.

Two processes, one stream on a unix socket; medians of interleaved rounds. `noc/__init__.py` switches the engine off
because of what this prints; run it again whenever the range of grpcio in pyproject.toml moves.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time

from dlibos_node.noc.link import Network
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues

ROUNDS = 5
FRAMES = 2000
WORDS = 12  # four RX messages
OFF = "-event_engine_client,-event_engine_listener"


async def run_tile(directory: str, number: int) -> None:
    """Tile 2 answers every frame; tile 1 measures round trips, then frames one way, and prints both in us."""
    arrived = asyncio.Event()
    queues = Queues()
    counted = 0

    def deliver() -> None:
        nonlocal counted
        counted += len(queues.drain(0)) + len(queues.drain(1))
        if number == 2:
            peer.post(1, 1)
            network.flush()
        arrived.set()

    network = Network("bench", number, queues, deliver, lambda _peer: arrived.set())
    peer = Peer(number, 3 - number, capacity=1 << 20)
    await network.serve(f"unix:{directory}/{number}.sock")
    network.add(peer, f"unix:{directory}/{3 - number}.sock")
    while not peer.up:
        arrived.clear()
        await arrived.wait()
    if number == 2:
        await asyncio.Event().wait()
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(FRAMES):
        arrived.clear()
        peer.post(0, 1, *range(WORDS))
        network.flush()
        await arrived.wait()
    trip = (time.perf_counter() - started) / FRAMES
    print(trip * 1e6, (time.process_time() - cpu) / FRAMES * 1e6)


def measure(experiments: str) -> tuple[float, float]:
    """Return microseconds per round trip, and of this side's CPU for it."""
    environment = {**os.environ, "GRPC_EXPERIMENTS": experiments}
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, __file__, directory]
        other = subprocess.Popen([*command, "2"], env=environment, stderr=subprocess.DEVNULL)
        try:
            out = subprocess.run([*command, "1"], env=environment, check=True, capture_output=True, timeout=60).stdout
        finally:
            other.kill()
            other.wait()
    trip, cpu = map(float, out.split())
    return trip, cpu


def main() -> None:
    """Compare."""
    if len(sys.argv) == 3:
        asyncio.run(run_tile(sys.argv[1], int(sys.argv[2])))
        return
    results: dict[str, list[tuple[float, float]]] = {"": [], OFF: []}
    for _ in range(ROUNDS):
        for experiments, rounds in results.items():
            rounds.append(measure(experiments))
    for experiments, rounds in results.items():
        trip, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{experiments or 'grpcio as it comes':50s} round trip {trip:7.1f} us, CPU of one side {cpu:6.1f} us")
    ratios = [a[0] / b[0] for a, b in zip(results[""], results[OFF], strict=True)]
    print(f"as it comes / switched off, round trips: median of {ROUNDS} pairs {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
