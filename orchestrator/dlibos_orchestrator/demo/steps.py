"""The steps of the demonstration. Each returns one line on what it saw, or raises StepFailedError with the reason."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Final, NamedTuple

from dlibos_orchestrator.demo.http import BadAnswerError, Session
from dlibos_orchestrator.demo.load import LoadResult, parse_wrk

FILE_NAME: Final = "random.bin"
FILE_BYTES: Final = 10_000_000
CONNECTIONS: Final = 100
LOAD_CONNECTIONS: Final = 64
LOAD_SECONDS: Final = 5
PATIENCE: Final = 60.0  # seconds a step may take


class StepFailedError(Exception):
    """A step did not show what it should."""


class Place(NamedTuple):
    """Where the mesh of the demonstration is."""

    name: str
    tap: bool
    address: str  # inside the namespace
    port: int  # published on 127.0.0.1
    root: Path


def download(place: Place) -> str:
    """Fetch the random file through the published port and compare its SHA-256."""
    target = place.root.parent / "download.bin"
    started = time.perf_counter()
    how = _fetch(f"http://127.0.0.1:{place.port}/{FILE_NAME}", target)
    elapsed = time.perf_counter() - started
    if _digest(target) != _digest(place.root / FILE_NAME):
        raise StepFailedError(f"{target.stat().st_size} of {FILE_BYTES} bytes came, and SHA-256 differs")
    return f"{FILE_BYTES / 1e6 / elapsed:.0f} MB/s by {how}, SHA-256 equal"


def connections(place: Place) -> str:
    """Hold many connections open at once, and get two pages over each."""
    try:
        size = asyncio.run(_hold_connections(place.port))
    except (OSError, BadAnswerError, TimeoutError) as error:
        raise StepFailedError(f"{type(error).__name__}: {error}") from error
    return f"{CONNECTIONS} open at once, two pages of {size} bytes over each"


def load(place: Place, results: list[LoadResult]) -> str:
    """Run the load and add its result to `results`; an error in it fails the step."""
    try:
        result, client = _run_load(place)
    except ValueError as error:
        raise StepFailedError(str(error)) from error
    results.append(result)
    if result.errors or not result.requests:
        raise StepFailedError(f"{result.errors} errors, {result.requests} answers ({client})")
    latency = f"p50 {result.p50 * 1e3:.2f} ms, p99 {result.p99 * 1e3:.2f} ms"
    return f"{result.per_second:,.0f} requests/s, {latency} ({client}, {LOAD_CONNECTIONS} connections)"


def _run_load(place: Place) -> tuple[LoadResult, str]:
    """Return the result and the client's name; it runs inside the namespace where there is one."""
    wrk = shutil.which("wrk") if place.tap else None
    if wrk is not None:
        flags = ["-t1", f"-c{LOAD_CONNECTIONS}", f"-d{LOAD_SECONDS}s", "--latency"]
        return parse_wrk(_inside(place, [wrk, *flags, f"http://{place.address}/"])), "wrk"
    host, port = (place.address, 80) if place.tap else ("127.0.0.1", place.port)
    client = [sys.executable, "-P", "-m", "dlibos_orchestrator.demo.load"]
    output = _inside(place, [*client, host, str(port), str(LOAD_SECONDS), str(LOAD_CONNECTIONS)])
    return LoadResult(**json.loads(output)), "asyncio client"


def _fetch(url: str, target: Path) -> str:
    """Download `url`; return by what."""
    if (curl := shutil.which("curl")) is not None:
        _run([curl, "-sS", "--fail", "--max-time", str(int(PATIENCE)), "-o", str(target), url])
        return "curl"
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer, target.open("wb") as file:  # noqa: S310 - http only
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise StepFailedError(str(error)) from error
    return "urllib"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _hold_connections(port: int) -> int:
    async with asyncio.timeout(PATIENCE):
        sessions = await asyncio.gather(*(Session.connect("127.0.0.1", port) for _ in range(CONNECTIONS)))
        try:
            pages = [await asyncio.gather(*(session.get("/") for session in sessions)) for _ in range(2)]
        finally:
            for session in sessions:
                session.close()
    if len({page for round_ in pages for page in round_}) != 1:
        raise BadAnswerError("the pages differ")
    return len(pages[0][0])


def _inside(place: Place, command: list[str]) -> str:
    dlibos = [sys.executable, "-P", "-m", "dlibos_orchestrator"]
    return _run([*dlibos, "exec", "--name", place.name, "--", *command])


def _run(command: list[str]) -> str:
    try:
        child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise StepFailedError(f"{command[0]} took more than {PATIENCE:g} s") from error
    if child.returncode != 0:
        words = (child.stderr.strip().splitlines() or ["no word"])[-1]
        raise StepFailedError(f"exit code {child.returncode}: {words}")
    return child.stdout
