"""A short closed-loop load: wrk where it is installed, else asyncio clients that each ask again when answered.

`python -m dlibos_orchestrator.demo.load HOST PORT SECONDS CONNECTIONS` runs the latter and prints its result as JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from dlibos_orchestrator.demo.http import BadAnswerError, Session

WRK_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class LoadResult(NamedTuple):
    """What a load came to; latencies in seconds."""

    requests: int
    per_second: float
    p50: float
    p99: float
    errors: int


def parse_wrk(text: str) -> LoadResult:
    """Return what `wrk --latency` printed. ValueError when it is not that."""
    done = re.search(r"(\d+) requests in ", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p50, p99 = _percentile(text, 50), _percentile(text, 99)
    if done is None or rate is None:
        raise ValueError(f"wrk printed no result: {text.strip()[-200:]!r}")
    counts = re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", text)
    return LoadResult(int(done[1]), float(rate[1]), p50, p99, sum(int(count) for count in counts))


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk printed no {percent} % latency; was --latency given?")
    return float(found[1]) * WRK_SECONDS[found[2]]


async def run_load(host: str, port: int, seconds: float, connections: int) -> LoadResult:
    """Ask for `/` over `connections` kept-alive connections at once, for `seconds`."""
    started = time.perf_counter()
    clients = [_client(host, port, started + seconds) for _ in range(connections)]
    results = await asyncio.gather(*clients)
    elapsed = time.perf_counter() - started
    latencies = sorted(latency for sample, _ in results for latency in sample)
    errors = sum(error for _, error in results)
    return summary(latencies, errors, elapsed)


def summary(latencies: Sequence[float], errors: int, elapsed: float) -> LoadResult:
    """Return the result that sorted latencies in seconds come to."""
    count = len(latencies)
    if not count:
        return LoadResult(0, 0.0, 0.0, 0.0, errors)
    return LoadResult(
        count, count / elapsed, latencies[count // 2], latencies[min(count - 1, count * 99 // 100)], errors
    )


async def _client(host: str, port: int, until: float) -> tuple[list[float], int]:
    """Ask until the time is over; return the latencies and 1 if an error ended it early."""
    latencies: list[float] = []
    try:
        session = await Session.connect(host, port)
    except OSError:
        return latencies, 1
    try:
        while (asked := time.perf_counter()) < until:
            await session.get("/")
            latencies.append(time.perf_counter() - asked)
    except (OSError, BadAnswerError):
        return latencies, 1
    finally:
        session.close()
    return latencies, 0


def main() -> int:
    """Run the asyncio load and print its result."""
    host, port, seconds, connections = sys.argv[1:]
    result = asyncio.run(run_load(host, int(port), float(seconds), int(connections)))
    print(json.dumps(result._asdict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
