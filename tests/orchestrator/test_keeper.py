from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.runtime import interface, local, processes
from dlibos_orchestrator.runtime.directory import MeshDirectory, mesh_directory
from dlibos_orchestrator.runtime.keeper import answer

VIRTIO = bytes(10)
BROADCAST = b"\xff" * 6


@pytest.fixture
def home(tap: None, stub_tiles: object, runtime_directory: Path) -> Iterator[MeshDirectory]:
    """A mesh whose stub drivers leave the queues to the test."""
    del tap, stub_tiles, runtime_directory
    local.up(replace(MeshOptions(), name="m", nic="tap"), 20.0, lambda line: None)
    yield mesh_directory("m")
    local.down("m")


def ask(home: MeshDirectory, request: bytes) -> tuple[dict[str, object], list[int]]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(home.read_mesh().nic.keeper)
        client.sendall(request)
        line, descriptors, _, _ = socket.recv_fds(client, 4096, 1)
        return json.loads(line), descriptors


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
    said, queues = ask(home, b"Q")
    assert said == {"name": "dlibos0", "mtu": 1500}
    mac = bytes.fromhex("02d1b0000002")
    os.write(queues[0], arp_request(mac, "10.77.0.2", "10.77.0.1"))
    reply = receive_arp_reply(queues[0])
    assert reply[:6] == mac
    assert reply[6:12] == bytes.fromhex(home.read_mesh().nic.peer_mac.replace(":", ""))
    assert reply[28:32] == socket.inet_aton("10.77.0.1")
    os.close(queues[0])


def test_each_asker_gets_a_queue_of_its_own(home: MeshDirectory) -> None:
    queues = [ask(home, b"Q")[1][0] for _ in range(3)]
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
        os.close(ask(home, b"Q")[1][0])
    assert before
    assert device_index(home) == before


def test_frames_do_not_pile_up_in_the_keepers_own_queue(home: MeshDirectory) -> None:
    keeper = next(p.pid for p in processes.scan(home.path) if p.module == processes.KEEPER_MODULE)
    _, queues = ask(home, b"Q")
    command = "import os, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor p in range(1, 65):\n"
    command += "    s.sendto(b'x', ('10.77.0.255', p)) if s.setsockopt(1, 6, 1) is None else None"
    pid = os.fork()
    if pid == 0:
        local.enter(home)
        os.execv(sys.executable, [sys.executable, "-c", command])  # noqa: S606
    assert os.waitpid(pid, 0)[1] == 0
    frames = 0
    while select.select(queues, [], [], 0.0)[0]:
        frames += os.read(queues[0], 2048)[len(VIRTIO) + 12 : len(VIRTIO) + 14] == b"\x08\x00"
    assert frames == 64, "64 flows, and all of them in the only attached queue"
    assert processes.cpu_seconds(keeper) < 5.0
    os.close(queues[0])


def test_an_unknown_request_is_answered_with_what_is_known(home: MeshDirectory) -> None:
    said, queues = ask(home, b"X")
    assert said == {"error": "unknown request; send Q for one queue"}
    assert queues == []


def test_a_refusing_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise OSError(7, "Argument list too long")

    monkeypatch.setattr(interface, "open_tap_queue", refuse)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"Q")
        answer(theirs, 1500)
        assert json.loads(ours.recv(4096)) == {"error": "no queue of dlibos0: Argument list too long"}
