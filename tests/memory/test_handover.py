"""Handover: partitions change hands as descriptors."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from dlibos_node.errors import PartitionError
from dlibos_node.memory import descriptor
from dlibos_node.memory.handover import Handover, fetch
from dlibos_node.memory.partition import Partition


def is_there(path: Path) -> bool:
    return path.exists()


async def test_partitions_change_hands_over_a_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "mem.sock")
    numbers = [descriptor.partition_number(1, domain) for domain in (1, 2)]
    owned = [Partition.create(number, protected=False) for number in numbers]
    waiting = asyncio.create_task(fetch(path, 1, 2))  # before anybody listens
    await asyncio.sleep(0)
    handover = Handover(path, lambda _tile: owned)
    handover.start()
    connection, mapped = await waiting
    assert [partition.number for partition in mapped] == numbers
    owned[1].view[:3] = b"abc"
    assert bytes(mapped[1].view[:3]) == b"abc"
    handover.close()
    assert await asyncio.get_running_loop().sock_recv(connection, 1) == b"", "the connection ends with the owner"
    connection.close()
    assert not is_there(tmp_path / "mem.sock")
    for partition in owned + mapped:
        partition.close()


@pytest.mark.parametrize("line", [b"nonsense", b'{"number": 1}', json.dumps([{"number": 64}]).encode()])
async def test_an_answer_that_makes_no_sense_is_refused(tmp_path: Path, line: bytes) -> None:
    path = str(tmp_path / "mem.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        fetching = asyncio.create_task(fetch(path, 1, 2))
        client, _ = await asyncio.get_running_loop().sock_accept(listener)
        with client:
            client.sendall(line)
        with pytest.raises(PartitionError, match="not a list of partitions"):
            await fetching
