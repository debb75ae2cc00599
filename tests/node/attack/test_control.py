"""The control socket: orders in, answers out, and errors that are no evidence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from dlibos_node.attack import control
from dlibos_node.attack.answer import Answer, Order, Step


def perform(name: str, order: Order) -> Answer | Awaitable[Answer]:
    if name == "later":
        return later(order)
    if name == "denied":
        raise PermissionError(1, "no")
    return {"now": Answer((Step("pwrite", "EPERM"),), False, str(order.pids), ("found",))}[name]


async def later(order: Order) -> Answer:
    return Answer(detail=f"{order.canary!r} {order.recorded!r} {order.status} {order.root}")


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[control.Perform]:
    server = await control.listen(tmp_path / "attack" / "5.sock", perform)
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "attack" / "5.sock"))

    async def order(name: str, words: Order) -> Answer:
        writer.write(json.dumps({"do": name, "order": json.loads(words.status or "{}")}).encode() + b"\n")
        return Answer(detail=(await reader.readline()).decode())

    yield order
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def answer(ask: control.Perform, name: str, **order: object) -> dict[str, object]:
    given = ask(name, Order.of({"status": json.dumps(order)}))
    assert not isinstance(given, Answer)
    said: dict[str, object] = json.loads((await given).detail)
    return said


async def test_an_answer_comes_back(ask: control.Perform) -> None:
    assert await answer(ask, "now", pids={"4": 17}) == {
        "steps": [["pwrite", "EPERM"]],
        "reached": False,
        "detail": "{4: 17}",
        "read": ["found"],
    }


async def test_an_order_reaches_an_attack_that_takes_time(ask: control.Perform) -> None:
    said = await answer(ask, "later", canary="C-", recorded=["6162"], status="/s", root="/r")
    assert said["detail"] == "b'C-' (b'ab',) /s /r"


async def test_what_falls_over_is_an_error(ask: control.Perform) -> None:
    assert await answer(ask, "nothing") == {"error": "KeyError: 'nothing'"}
    assert await answer(ask, "denied") == {"error": "PermissionError: [Errno 1] no"}
