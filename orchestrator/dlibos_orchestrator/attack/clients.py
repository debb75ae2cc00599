"""The clients inside the mesh's network: `python -m dlibos_orchestrator.attack.clients --dir DIR`, ruled by JSON lines.

Honest ones ask the honest domain for its page without end and compare every byte; half of them anew for each request.
Besides, connections to the attacker's own domain are opened, used and closed as the runner says. In: the secrets, then
{"do": ..., ...} on stdin; out: one line for each on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from dlibos_orchestrator.attack.friend import Friend
from dlibos_orchestrator.attack.page import HONEST_PORT, NAME, Secrets
from dlibos_orchestrator.demo.http import BadAnswerError, content_length
from dlibos_orchestrator.runtime import local
from dlibos_orchestrator.runtime.directory import MeshDirectory

CLIENTS: Final = 4
PAUSE: Final = 0.002  # seconds between two requests of a client: the mesh is to be in use, not at its limit
PATIENCE: Final = 3.0  # seconds for an answer; more is an error
KEPT: Final = 40  # requests over a kept connection


class Crowd:
    """The honest clients and their counts."""

    def __init__(self, host: str, secrets: Secrets) -> None:
        self.host = host
        self.requests = 0
        self.errors = 0
        self.last_error = ""
        self.going = asyncio.Event()
        self.progress = asyncio.Condition()
        self.rounds = [0] * CLIENTS
        self.busy = 0
        self._body = secrets.body
        self._request = f"GET /{NAME} HTTP/1.1\r\nHost: {host}\r\nX-Canary: {secrets.request}\r\n\r\n".encode()

    async def client(self, number: int) -> None:
        """Ask without end; even numbers keep their connection for a while."""
        while True:
            await self.going.wait()
            try:
                await self._converse(number, KEPT if number % 2 == 0 else 1)
            except (OSError, BadAnswerError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                self.errors += 1
                self.last_error = f"{type(error).__name__}: {error}".strip(": ")
                await asyncio.sleep(PAUSE)

    async def _converse(self, number: int, requests: int) -> None:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(self.host, HONEST_PORT)
        try:
            for _ in range(requests):
                await self.going.wait()
                self.busy += 1
                try:
                    await self._ask(reader, writer)
                finally:
                    self.busy -= 1
                await self._done(number)
                await asyncio.sleep(PAUSE)
        finally:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._request)
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(content_length(head))
        if body != self._body:
            raise BadAnswerError(f"{len(body)} bytes that are not the page")

    async def _done(self, number: int) -> None:
        self.requests += 1
        async with self.progress:
            self.rounds[number] += 1
            self.progress.notify_all()

    async def served(self, rounds: int, patience: float) -> None:
        """Return when every client was served `rounds` times more, or after `patience` seconds."""
        goal = [count + rounds for count in self.rounds]
        with suppress(TimeoutError):
            async with asyncio.timeout(patience), self.progress:
                await self.progress.wait_for(lambda: all(n >= g for n, g in zip(self.rounds, goal, strict=True)))

    async def rest(self) -> None:
        """Let no new request begin, and return when none is under way."""
        self.going.clear()
        async with asyncio.timeout(PATIENCE * 2):
            while self.busy:  # noqa: ASYNC110 - requests that fail tell nobody
                await asyncio.sleep(PAUSE)


class Service:
    """What the runner may ask for, by the word behind "do"."""

    def __init__(self, crowd: Crowd, friend: Friend) -> None:
        self._crowd = crowd
        self._friend = friend

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; an error goes back as one."""
        words = dict(request)
        work: Callable[..., Awaitable[dict[str, Any]]] = getattr(self, f"do_{words.pop('do')}")
        try:
            return await work(**words)
        except (OSError, BadAnswerError, TimeoutError, asyncio.IncompleteReadError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    async def do_count(self, rounds: int = 0, patience: float = 0.0) -> dict[str, Any]:
        """Wait for some rounds, and tell the counts."""
        if rounds:
            await self._crowd.served(rounds, patience)
        crowd = self._crowd
        return {"requests": crowd.requests, "errors": crowd.errors, "last_error": crowd.last_error}

    async def do_rest(self) -> dict[str, Any]:
        """Stop asking."""
        await self._crowd.rest()
        return {}

    async def do_go(self) -> dict[str, Any]:
        """Ask again."""
        self._crowd.going.set()
        return {}

    async def do_connect(self, count: int) -> dict[str, Any]:
        """Open connections to the attacker's domain."""
        return _heard(await self._friend.connect(count))

    async def do_dial(self, count: int) -> dict[str, Any]:
        """Open silent ones."""
        await self._friend.dial(count)
        return {}

    async def do_hear(self, enough: int, patience: float) -> dict[str, Any]:
        """Read from them."""
        return _heard(await self._friend.hear(enough, patience))

    async def do_drip(self, segments: int) -> dict[str, Any]:
        """Write to them."""
        await self._friend.drip(segments)
        return {}

    async def do_close(self) -> dict[str, Any]:
        """Close them."""
        self._friend.close()
        return {}


def _heard(data: bytes) -> dict[str, Any]:
    return {"heard": base64.b64encode(data).decode()}


async def serve(host: str) -> None:
    """Answer the runner until it closes our input."""
    lines = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    crowd = Crowd(host, Secrets(**json.loads(await lines.readline())))
    service = Service(crowd, Friend(host))
    tasks = [asyncio.create_task(crowd.client(number)) for number in range(CLIENTS)]
    while line := await lines.readline():
        print(json.dumps(await service.answer(json.loads(line))), flush=True)
    for task in tasks:
        task.cancel()


def main(arguments: list[str] | None = None) -> int:
    """Enter the mesh's network and serve the runner."""
    parser = argparse.ArgumentParser(prog="clients")
    parser.add_argument("--dir", type=Path, required=True)
    directory = MeshDirectory(parser.parse_args(arguments).dir)
    local.enter(directory)
    asyncio.run(serve(local.reachable_address(directory.read_mesh())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
