"""The control socket of an attacker, opened before hardening: {"do": name, "order": {...}} in, an answer out."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dlibos_node.attack.answer import Answer, Order
from dlibos_node.errors import DlibosError

Perform = Callable[[str, Order], Answer | Awaitable[Answer]]


async def listen(path: Path, perform: Perform) -> asyncio.Server:
    """Take orders at `path` until the server is closed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(await _answer(perform, json.loads(line))).encode() + b"\n")
        writer.close()

    return await asyncio.start_unix_server(serve, str(path), limit=1 << 20)


async def _answer(perform: Perform, request: dict[str, Any]) -> dict[str, Any]:
    """Perform an attack; one that falls over says so, and is no evidence of anything."""
    try:
        answer = perform(str(request["do"]), Order.of(request.get("order", {})))
        if inspect.isawaitable(answer):
            answer = await answer
    except (DlibosError, OSError, LookupError, ValueError, TypeError, TimeoutError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return answer.as_json()
