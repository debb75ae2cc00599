"""Clients that see everything: `python -m dlibos_orchestrator.bench.witness --dir DIR`, ruled by lines on stdin.

Inside the mesh's network, a number of kept connections each ask for the page every PAUSE seconds, and every EVERY
seconds a newcomer opens a connection of its own, whether the last one was served or not. Every body is compared with
the first. "mark" on stdin begins a new account; "tell" prints it as one line of JSON; the end of stdin ends it all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Final

from dlibos_orchestrator.demo.http import BadAnswerError, Session
from dlibos_orchestrator.runtime import local
from dlibos_orchestrator.runtime.directory import MeshDirectory

PORT: Final = 80
PATIENCE: Final = 10.0  # seconds until a request that gets no answer has failed
PAUSE: Final = 0.05
EVERY: Final = 0.02
MOST: Final = 400  # newcomers at once: beyond it none is opened, so a long outage costs no more than this


class Account:
    """What happened since `began` (monotonic seconds)."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.requests = 0
        self.resets = 0  # kept connections that were reset or ended
        self.timeouts = 0
        self.wrong = 0  # answers that were not the page
        self.refused = 0  # newcomers that were refused or reset
        self.longest = 0.0  # seconds a kept connection waited for an answer
        self.back: float | None = None  # seconds until the first newcomer since `began` was served
        self.gap = 0.0  # longest time between two newcomers that were served
        self.served = self.began  # when the last one was

    def newcomer(self, began: float) -> None:
        """One that came at `began` was served."""
        now = time.monotonic()
        self.requests += 1
        self.gap = max(self.gap, now - self.served)
        self.served = now
        if self.back is None and began >= self.began:
            self.back = now - self.began

    def as_json(self) -> str:
        """Return it as one line."""
        return json.dumps({key: value for key, value in vars(self).items() if key not in {"began", "served"}})


class Witness:
    """The clients of one mesh at `host`."""

    def __init__(self, host: str) -> None:
        self.account = Account()
        self._host = host
        self._page = b""
        self._newcomers: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        """Learn the page."""
        session = await Session.connect(self._host, PORT)
        self._page = await session.get("/")
        session.close()

    async def keep(self) -> None:
        """Ask over one connection without end; open another when it is lost."""
        while True:
            try:
                session = await asyncio.wait_for(Session.connect(self._host, PORT), PATIENCE)
            except OSError:  # a TimeoutError too: the newcomers tell of that
                await asyncio.sleep(PAUSE)
                continue
            try:
                await self._converse(session)
            except TimeoutError:
                self.account.timeouts += 1
            except (OSError, BadAnswerError):
                self.account.resets += 1
            finally:
                session.close()

    async def _converse(self, session: Session) -> None:
        while True:
            asked = time.monotonic()
            self._compare(await asyncio.wait_for(session.get("/"), PATIENCE))
            self.account.requests += 1
            self.account.longest = max(self.account.longest, time.monotonic() - asked)
            await asyncio.sleep(PAUSE)

    def _compare(self, body: bytes) -> None:
        self.account.wrong += body != self._page

    async def welcome(self) -> None:
        """Open connections at a steady pace, without end."""
        while True:
            if len(self._newcomers) < MOST:
                task = asyncio.create_task(self._newcomer())
                self._newcomers.add(task)
                task.add_done_callback(self._newcomers.discard)
            await asyncio.sleep(EVERY)

    async def _newcomer(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                session = await Session.connect(self._host, PORT)
                try:
                    self._compare(await session.get("/"))
                finally:
                    session.close()
        except TimeoutError:
            self.account.timeouts += 1
        except (OSError, BadAnswerError):
            self.account.refused += 1
        else:
            self.account.newcomer(began)


async def serve(host: str, kept: int) -> None:
    """Answer whoever rules us until he closes our input."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    witness = Witness(host)
    await witness.prepare()
    tasks = [asyncio.create_task(witness.keep()) for _ in range(kept)]
    tasks.append(asyncio.create_task(witness.welcome()))
    while line := await lines.readline():
        if line.strip() == b"mark":
            witness.account = Account()
        else:
            print(witness.account.as_json(), flush=True)
    for task in tasks:
        task.cancel()


def main(arguments: list[str] | None = None) -> int:
    """Enter the mesh's network and be its witness."""
    parser = argparse.ArgumentParser(prog="witness")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--kept", type=int, required=True)
    options = parser.parse_args(arguments)
    directory = MeshDirectory(options.dir)
    local.enter(directory)
    asyncio.run(serve(local.reachable_address(directory.read_mesh()), options.kept))
    return 0


if __name__ == "__main__":
    sys.exit(main())
