"""The bound on handshakes: a result passes through, slow ones end, the oldest makes room."""

from __future__ import annotations

import asyncio

import pytest

from dlibos_node.admission import Admission


async def test_what_the_handshake_came_to_is_returned() -> None:
    async def handshake() -> str:
        return "in"

    assert await Admission().run(handshake(), "slow", "crowded") == "in"


async def test_what_the_handshake_raised_is_raised() -> None:
    async def handshake() -> str:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await Admission().run(handshake(), "slow", "crowded")


async def test_one_that_takes_too_long_is_ended() -> None:
    ended = asyncio.Event()

    async def handshake() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "in"

    assert await Admission(patience=0.01).run(handshake(), "slow", "crowded") == "slow"
    await ended.wait()


async def test_the_oldest_makes_room_for_the_newest() -> None:
    admission = Admission(most=2)
    gate = asyncio.Event()

    async def handshake() -> str:
        await gate.wait()
        return "in"

    tasks = [asyncio.create_task(admission.run(handshake(), "slow", "crowded")) for _ in range(5)]
    await asyncio.gather(*tasks[:3])
    gate.set()
    assert await asyncio.gather(*tasks) == ["crowded"] * 3 + ["in"] * 2


async def test_who_hangs_up_leaves_his_place() -> None:
    admission = Admission(most=1)
    gate = asyncio.Event()

    async def handshake() -> str:
        await gate.wait()
        return "in"

    first = asyncio.create_task(admission.run(handshake(), "slow", "crowded"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.set()
    assert await admission.run(handshake(), "slow", "crowded") == "in"
