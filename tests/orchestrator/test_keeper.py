"""The keeper's device, and who gets a queue of it: driver tiles that prove who they are, and nobody else."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import select
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dlibos_node import greeting
from dlibos_node.errors import DeviceError, IdentityError
from dlibos_node.greeting import Caller
from dlibos_node.identity import KEEPER, Context, Credentials
from dlibos_node.nic.queue import QueueInfo, fetch_queue
from dlibos_orchestrator.model.credentials import pair_key
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime import interface, local, processes
from dlibos_orchestrator.runtime import keeper as runtime_keeper
from dlibos_orchestrator.runtime.callers import Refusal
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.keeper import Keeper
from tests.support.keys import MESH_KEY, credentials

DRIVER = 0
IFF_ATTACH_QUEUE = 0x0200
VIRTIO = bytes(10)
BROADCAST = b"\xff" * 6


@pytest.fixture
def home(
    tap: None, stub_tiles: object, runtime_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MeshDirectory]:
    """A mesh whose stub drivers leave the queues, and whose key is known, to the test."""
    del tap, stub_tiles, runtime_directory
    monkeypatch.setattr(local, "draw_key", lambda: MESH_KEY)
    local.up(replace(MeshOptions(), name="m", nic="tap"), 20.0, lambda line: None)
    yield mesh_directory("m")
    local.down("m")


def ask(home: MeshDirectory) -> int:
    """Return a queue, as the driver tile gets one: detached, and attaches it."""
    queue, info = fetch_queue(home.read_mesh().nic.keeper, DRIVER, credentials(DRIVER, KEEPER))
    assert info == QueueInfo("dlibos0", 1500)
    fcntl.ioctl(queue, interface.TUNSETQUEUE, struct.pack("16sH22x", b"", IFF_ATTACH_QUEUE))  # EINVAL if it was
    return queue


def arp_request(mac: bytes, sender: str, target: str) -> bytes:
    """RFC 826: who has `target`, tell `sender`; behind an empty virtio-net header."""
    body = struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, socket.inet_aton(sender), b"", socket.inet_aton(target)
    )
    return VIRTIO + BROADCAST + mac + b"\x08\x06" + body


def receive_arp_reply(queue: int) -> bytes:
    """The next ARP reply; other frames, such as the kernel's own chatter, are skipped."""
    while True:
        assert select.select([queue], [], [], 10.0)[0], "no answer from the kernel"
        frame = os.read(queue, 2048)[len(VIRTIO) :]
        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02":
            return frame


def test_a_queue_reaches_the_kernel(home: MeshDirectory) -> None:
    queue = ask(home)
    mac = bytes.fromhex("02d1b0000002")
    os.write(queue, arp_request(mac, "10.77.0.2", "10.77.0.1"))
    reply = receive_arp_reply(queue)
    assert reply[:6] == mac
    assert reply[6:12] == bytes.fromhex(home.read_mesh().nic.peer_mac.replace(":", ""))
    assert reply[28:32] == socket.inet_aton("10.77.0.1")
    os.close(queue)


def test_each_asker_gets_a_queue_of_its_own(home: MeshDirectory) -> None:
    queues = [ask(home) for _ in range(3)]
    mac = bytes.fromhex("02d1b0000002")
    os.write(queues[1], arp_request(mac, "10.77.0.2", "10.77.0.1"))
    readable, _, _ = select.select(queues, [], [], 10.0)
    assert len(readable) == 1, "the device steers a flow to one queue"
    for queue in queues:
        os.close(queue)


def device_index(home: MeshDirectory) -> str:
    """The kernel's number of the device: a device made anew would have another."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        local.enter(home)
        os.write(writer, str(socket.if_nametoindex(interface.TAP_NAME)).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


def test_the_device_outlives_the_last_attached_queue(home: MeshDirectory) -> None:
    before = device_index(home)
    for _ in range(2):
        os.close(ask(home))
    assert before
    assert device_index(home) == before


def test_frames_do_not_pile_up_in_the_keepers_own_queue(home: MeshDirectory) -> None:
    keeper = next(p.pid for p in processes.scan(home.path) if p.module == processes.KEEPER_MODULE)
    queue = ask(home)
    command = "import os, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor p in range(1, 65):\n"
    command += "    s.sendto(b'x', ('10.77.0.255', p)) if s.setsockopt(1, 6, 1) is None else None"
    pid = os.fork()
    if pid == 0:
        local.enter(home)
        os.execv(sys.executable, [sys.executable, "-c", command])  # noqa: S606
    assert os.waitpid(pid, 0)[1] == 0
    frames = 0
    while select.select([queue], [], [], 0.0)[0]:
        frames += os.read(queue, 2048)[len(VIRTIO) + 12 : len(VIRTIO) + 14] == b"\x08\x00"
    assert frames == 64, "64 flows, and all of them in the only attached queue"
    assert processes.cpu_seconds(keeper) < 5.0
    os.close(queue)


@pytest.mark.parametrize(
    ("tile", "own", "words"),
    [
        (DRIVER, None, r"refused \(wrong_proof\)|wrong_proof; see"),
        (DRIVER, credentials(DRIVER, KEEPER, key=bytes(32)), "does not prove to be who it should"),
    ],
)
def test_who_is_no_driver_tile_gets_no_queue(
    home: MeshDirectory, tile: int, own: Credentials | None, words: str
) -> None:
    with pytest.raises(DeviceError, match=words):
        fetch_queue(home.read_mesh().nic.keeper, tile, own)
    os.close(ask(home))


@pytest.fixture
async def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keeper]:
    """A keeper at tmp_path/s without a device: its queues are empty files."""
    monkeypatch.setattr(interface, "open_detached_queue", os.memfd_create)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(128)
    keeper = Keeper(listener, 1500, {DRIVER: pair_key(MESH_KEY, DRIVER, KEEPER)})
    serving = asyncio.create_task(keeper.serve())
    yield keeper
    serving.cancel()
    listener.close()


async def get_queue(tmp_path: Path, own: Credentials | None = None) -> None:
    own = own or credentials(DRIVER, KEEPER)
    queue, _ = await asyncio.to_thread(fetch_queue, str(tmp_path / "s"), DRIVER, own)
    os.close(queue)


async def connect(tmp_path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, str(tmp_path / "s"))
    return client


async def hear(client: socket.socket) -> dict[str, object]:
    said: dict[str, object] = json.loads(await asyncio.get_running_loop().sock_recv(client, 1024))
    return said


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"Q\n", Refusal.GREETING),
        (b"x" * 1024, Refusal.GREETING),
        (b'{"tile": true}\n', Refusal.GREETING),
        (b'{"tile": 0}\n', Refusal.PROOF),
        (b'{"tile": 0, "nonce": "00"}\n', Refusal.PROOF),
        (b'{"tile": 0, "nonce": 7}\n', Refusal.PROOF),
        (Caller(credentials(1, KEEPER), Context.KEEPER, KEEPER).greeting(), Refusal.PROOF),
    ],
)
async def test_who_greets_wrongly_is_told_why_and_counted(
    keeper: Keeper, tmp_path: Path, line: bytes, reason: Refusal
) -> None:
    with await connect(tmp_path) as client:
        client.send(line)
        assert await hear(client) == {"error": reason.value}
    assert keeper.refused == {reason: 1}


@pytest.mark.parametrize("pids", [[os.getpid(), os.getpid()], [os.getpid() + 1, os.getpid()], [], "x", [1, 2, 3]])
async def test_a_made_up_proof_gets_nothing(keeper: Keeper, tmp_path: Path, pids: object) -> None:
    with await connect(tmp_path) as client:
        client.send(Caller(credentials(DRIVER, KEEPER), Context.KEEPER, KEEPER).greeting())
        challenge = await hear(client)
        client.send(json.dumps({"proof": challenge["proof"], "pids": pids}).encode() + b"\n")
        assert await hear(client) == {"error": "wrong_proof"}
    assert keeper.refused == {Refusal.PROOF: 1}


async def test_a_proof_for_a_tile_s_memory_is_worth_nothing_here(keeper: Keeper, tmp_path: Path) -> None:
    caller = Caller(credentials(DRIVER, KEEPER), Context.MEMORY, KEEPER)
    with await connect(tmp_path) as client:
        client.send(caller.greeting())
        challenge = await hear(client)
        with pytest.raises(IdentityError):
            caller.answer(json.dumps(challenge).encode(), greeting.peer_process(client))
        client.send(json.dumps(challenge).encode() + b"\n")
        assert await hear(client) == {"error": "wrong_proof"}
    assert keeper.refused == {Refusal.PROOF: 1}


async def test_a_silent_client_keeps_nobody_waiting_and_is_dropped_in_time(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with await connect(tmp_path):
        await get_queue(tmp_path)
    monkeypatch.setattr(runtime_keeper, "PATIENCE", 0.01)
    with await connect(tmp_path) as silent:
        assert await hear(silent) == {"error": "timed_out"}
    assert keeper.refused[Refusal.SLOW] == 1


async def test_a_flood_of_clients_is_bounded_and_does_not_keep_a_driver_out(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_keeper, "CLIENTS", 4)
    silent = [await connect(tmp_path) for _ in range(50)]
    for client in silent[:46]:
        assert await hear(client) == {"error": "too_many_unproved"}
    await get_queue(tmp_path)
    assert keeper.refused[Refusal.CROWDED] == 47
    for client in silent:
        client.close()


async def test_another_user_is_refused(keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with await connect(tmp_path) as client:
        client.send(Caller(credentials(DRIVER, KEEPER), Context.KEEPER, KEEPER).greeting())
        assert await hear(client) == {"error": "wrong_user"}
    assert keeper.refused == {Refusal.USER: 1}


async def test_without_keys_whoever_asks_gets_a_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "open_detached_queue", os.memfd_create)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        serving = asyncio.create_task(Keeper(listener, 1500, None).serve())
        queue, _ = await asyncio.to_thread(fetch_queue, str(tmp_path / "s"), 7)
        os.close(queue)
        serving.cancel()


async def test_a_refusing_kernel_is_named(keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise OSError(7, "Argument list too long")

    monkeypatch.setattr(interface, "open_detached_queue", refuse)
    with pytest.raises(DeviceError, match="no queue of dlibos0: Argument list too long"):
        await get_queue(tmp_path)
    assert keeper.refused == {Refusal.DEVICE: 1}


async def test_queues_that_were_opened_before_are_handed_out_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = os.memfd_create("spare")
    identity = os.fstat(spare).st_ino
    monkeypatch.setattr(interface, "open_detached_queue", os.memfd_create)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        serving = asyncio.create_task(Keeper(listener, 1500, None, [spare]).serve())
        queues = [(await asyncio.to_thread(fetch_queue, str(tmp_path / "s"), 7))[0] for _ in range(2)]
        assert [os.fstat(queue).st_ino == identity for queue in queues] == [True, False]
        for queue in queues:
            os.close(queue)
        serving.cancel()
