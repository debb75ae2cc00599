"""Partitions change hands: to whom they belong, to nobody else, and whoever calls does not keep the others waiting."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dlibos_node import greeting
from dlibos_node.errors import PartitionError
from dlibos_node.greeting import Caller, Refusal
from dlibos_node.identity import Context, Credentials
from dlibos_node.memory.handover import Handover, fetch
from dlibos_node.memory.partition import Partition
from tests.support.keys import credentials

OWNER = 2
OTHER_MESH = bytes(32)
FOR_ONE, FOR_ALL = 128, 129

# Passes on what two honest ends say: python -c RELAY LISTEN CONNECT; prints a line when it listens.
RELAY = """\
import select, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
caller, _ = listener.accept()
owner = socket.socket(socket.AF_UNIX)
owner.connect(sys.argv[2])
while True:
    for source in select.select([caller, owner], [], [])[0]:
        data, descriptors, _, _ = socket.recv_fds(source, 4096, 8)
        if descriptors:
            print("stolen", flush=True)
        if not data:
            sys.exit()
        (owner if source is caller else caller).sendall(data)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "mem.sock")


@pytest.fixture
def owned() -> Iterator[list[Partition]]:
    partitions = [Partition.create(number) for number in (FOR_ONE, FOR_ALL)]
    yield partitions
    for partition in partitions:
        partition.close()


@asynccontextmanager
async def handing_over(path: str, owned: list[Partition], own: Credentials | None) -> AsyncIterator[Handover]:
    """The owner gives tile 1 both partitions, tile 3 the second, and others nothing."""
    entitled = {1: owned, 3: owned[1:]}
    handover = Handover(path, lambda tile: entitled.get(tile, []), own)
    handover.start()
    yield handover
    handover.close()


@pytest.fixture
async def handover(path: str, owned: list[Partition]) -> AsyncIterator[Handover]:
    async with handing_over(path, owned, credentials(OWNER, 1, 3, 4)) as handover:
        yield handover


async def numbers(path: str, tile: int, own: Credentials | None) -> list[int]:
    connection, mapped = await fetch(path, OWNER, tile, own)
    connection.close()
    found = [partition.number for partition in mapped]
    for partition in mapped:
        partition.close()
    return found


def is_there(path: str) -> bool:
    return Path(path).exists()


@pytest.mark.parametrize("proving", [True, False])
async def test_a_reader_that_came_early_sees_what_the_owner_writes(path: str, proving: bool) -> None:
    owned = [Partition.create(number, protected=proving) for number in (FOR_ONE, FOR_ALL)]
    waiting = asyncio.create_task(fetch(path, OWNER, 1, credentials(1, OWNER) if proving else None))
    await asyncio.sleep(0)
    async with handing_over(path, owned, credentials(OWNER, 1) if proving else None):
        connection, mapped = await waiting
    assert [p.number for p in mapped] == [FOR_ONE, FOR_ALL]
    assert await asyncio.get_running_loop().sock_recv(connection, 1) == b"", "it ends with the owner"
    connection.close()
    owned[1].view[:3] = b"abc"
    assert bytes(mapped[1].view[:3]) == b"abc"
    assert not is_there(path)
    for partition in owned + mapped:
        partition.close()


async def test_each_tile_gets_what_it_is_entitled_to(path: str, handover: Handover) -> None:
    assert await numbers(path, 1, credentials(1, OWNER)) == [FOR_ONE, FOR_ALL]
    assert await numbers(path, 3, credentials(3, OWNER)) == [FOR_ALL]
    with pytest.raises(
        PartitionError, match=r"memory of tile 2 at .*/mem.sock: this process is refused \(not_entitled"
    ):
        await fetch(path, OWNER, 4, credentials(4, OWNER))
    assert handover.refused == {Refusal.RIGHTS: 1}


async def test_who_has_no_key_gets_nothing(path: str, handover: Handover) -> None:
    with pytest.raises(PartitionError, match=r"refused \(wrong_proof\): tiles prove who they are by keys `dlibos up`"):
        await fetch(path, OWNER, 1)
    assert handover.refused == {Refusal.PROOF: 1}


async def test_an_owner_whose_key_is_another_is_not_believed(path: str, handover: Handover) -> None:
    del handover
    with pytest.raises(PartitionError, match="does not prove to be who it should"):
        await fetch(path, OWNER, 1, credentials(1, OWNER, key=OTHER_MESH))


async def test_an_owner_without_credentials_is_not_believed(path: str, owned: list[Partition]) -> None:
    async with handing_over(path, owned, None):
        with pytest.raises(PartitionError, match="does not prove to be who it should"):
            await fetch(path, OWNER, 1, credentials(1, OWNER))


def shout(path: str, line: bytes) -> tuple[bytes, int]:
    """Say a line as a stranger would; return the last one that came back, and how many descriptors."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(line)
        answer, count = b"", 0
        while True:
            data, fds, _, _ = socket.recv_fds(sock, 4096, 8)
            count += len(fds)
            if not data:
                return answer.splitlines()[-1], count
            answer += data


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"Q\n", Refusal.GREETING),
        (b"x" * greeting.LINE, Refusal.GREETING),
        (greeting.plain_greeting(1), Refusal.PROOF),
        (Caller(credentials(9, OWNER), Context.MEMORY, OWNER).greeting(), Refusal.PROOF),
    ],
)
async def test_who_greets_wrongly_is_told_why_and_counted(
    path: str, handover: Handover, line: bytes, reason: Refusal
) -> None:
    assert await asyncio.to_thread(shout, path, line) == (greeting.refuse(reason).strip(), 0)
    assert handover.refused == {reason: 1}


async def test_a_made_up_proof_gets_nothing(path: str, handover: Handover) -> None:
    pids = [os.getpid(), os.getpid()]
    made_up = json.dumps({"proof": bytes(32).hex(), "pids": pids}).encode() + b"\n"
    hello = Caller(credentials(1, OWNER), Context.MEMORY, OWNER).greeting()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, path)
        await loop.sock_sendall(sock, hello)
        assert b"proof" in await loop.sock_recv(sock, 1024)
        await loop.sock_sendall(sock, made_up)
        assert greeting.refusal(await loop.sock_recv(sock, 1024)) == "wrong_proof"
    assert handover.refused == {Refusal.PROOF: 1}


async def test_who_passes_the_lines_on_gets_no_descriptor(path: str, handover: Handover, tmp_path: Path) -> None:
    between = str(tmp_path / "between.sock")
    command = [sys.executable, "-c", RELAY, between, path]
    relay = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert relay.stdout is not None
    assert await relay.stdout.readline() == b"ready\n"
    with pytest.raises(PartitionError, match="does not prove to be who it should"):
        await fetch(between, OWNER, 1, credentials(1, OWNER))
    assert await relay.stdout.read() == b""
    assert await relay.wait() == 0
    assert not handover.refused[Refusal.RIGHTS]


async def open_silently(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, path)
    return sock


async def test_a_slow_client_does_not_block_the_others(path: str, handover: Handover) -> None:
    with await open_silently(path):
        assert await numbers(path, 1, credentials(1, OWNER)) == [FOR_ONE, FOR_ALL]
        assert not handover.refused


async def test_a_slow_client_is_dropped_in_time(path: str, handover: Handover) -> None:
    handover.admission.patience = 0.01
    with await open_silently(path) as silent:
        assert greeting.refusal(await asyncio.get_running_loop().sock_recv(silent, 1024)) == "timed_out"
    assert handover.refused == {Refusal.SLOW: 1}


async def test_a_flood_of_clients_is_bounded_and_does_not_keep_a_tile_out(path: str, handover: Handover) -> None:
    handover.admission.most = 4
    silent = [await open_silently(path) for _ in range(50)]
    loop = asyncio.get_running_loop()
    for sock in silent[:46]:
        assert greeting.refusal(await loop.sock_recv(sock, 1024)) == "too_many_unproved"
    assert await numbers(path, 1, credentials(1, OWNER)) == [FOR_ONE, FOR_ALL]
    assert handover.refused == {Refusal.CROWDED: 47}
    for sock in silent:
        sock.close()


@asynccontextmanager
async def answering(path: str, *lines: bytes) -> AsyncIterator[None]:
    """An owner that says the next of `lines` to each client."""
    waiting = list(lines)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(waiting.pop(0))
        writer.close()

    async with await asyncio.start_unix_server(answer, path):
        yield


@pytest.mark.parametrize("line", [b"", b"nonsense", b'{"number": 1}', json.dumps([{"number": 1, "size": 9}]).encode()])
async def test_an_answer_that_makes_no_sense_is_refused(path: str, line: bytes) -> None:
    async with answering(path, line):
        with pytest.raises(PartitionError, match="not a list of partitions"):
            await fetch(path, OWNER, 1)


async def test_a_reader_that_was_crowded_out_asks_again(path: str) -> None:
    crowded, no_end = greeting.refuse(Refusal.CROWDED), b""
    async with answering(path, crowded, no_end, greeting.refuse(Refusal.RIGHTS)):
        with pytest.raises(PartitionError, match="not_entitled"):
            await fetch(path, OWNER, 1, credentials(1, OWNER))
