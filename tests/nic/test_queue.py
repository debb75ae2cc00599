"""What the keeper may answer, and what comes of it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlibos_node.errors import DeviceError
from dlibos_node.greeting import Callee, peer_process
from dlibos_node.identity import KEEPER, Context, Credentials
from dlibos_node.nic.queue import QueueInfo, fetch_queue
from tests.support.keys import credentials

Answer = Callable[[socket.socket], object]


@contextmanager
def keeper(path: Path, answer: Answer, *, greeted: bool = True) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                assert not greeted or connection.recv(1024) == b'{"tile": 0}\n'
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(path)
        thread.join()


def test_descriptor_and_info(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    line = b'{"name": "dlibos0", "mtu": 9000}\n'

    def in_two_pieces(connection: socket.socket) -> None:
        socket.send_fds(connection, [line[:5]], [write_end])
        connection.sendall(line[5:])

    with keeper(tmp_path / "s", in_two_pieces) as path:
        descriptor, info = fetch_queue(path, 0)
    assert info == QueueInfo("dlibos0", 9000)
    assert not os.get_inheritable(descriptor)
    os.write(descriptor, b"x")
    assert os.read(read_end, 1) == b"x"
    for end in (read_end, write_end, descriptor):
        os.close(end)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"error": "no more queues"}\n', "no more queues"),
        (b'{"name": "dlibos0", "mtu": 1500}\n', "0 descriptors"),
        (b"hello\n", "not what a keeper says"),
        (b'{"name": "dlibos0"}\n', "not what a keeper says"),
        (b"", "not what a keeper says"),
        (b"3\n", "not what a keeper says"),
        (b"\xff\n", "not what a keeper says"),
    ],
)
def test_refusals(tmp_path: Path, line: bytes, message: str) -> None:
    with (
        keeper(tmp_path / "s", lambda s: s.sendall(line)) as path,
        pytest.raises(DeviceError, match=f"keeper at .*{message}.*dlibos doctor"),
    ):
        fetch_queue(path, 0)


def prove(connection: socket.socket, own: Credentials) -> None:
    """Answer as a keeper does that asks for proof."""
    callee = Callee(own, Context.KEEPER, peer_process(connection))
    challenge = callee.challenge(connection.recv(1024))
    assert isinstance(challenge, bytes)
    connection.sendall(challenge[:10])
    connection.sendall(challenge[10:])
    if (answer := connection.recv(1024)) and callee.check(answer) is None:
        with Path(os.devnull).open("rb") as queue:
            socket.send_fds(connection, [b'{"name": "dlibos0", "mtu": 1500}\n'], [queue.fileno()])


def test_both_prove_who_they_are(tmp_path: Path) -> None:
    with keeper(tmp_path / "s", lambda s: prove(s, credentials(KEEPER, 3)), greeted=False) as path:
        descriptor, info = fetch_queue(path, 3, credentials(3, KEEPER))
    assert info == QueueInfo("dlibos0", 1500)
    os.close(descriptor)


@pytest.mark.parametrize("own", [credentials(KEEPER, 3, key=bytes(32)), credentials(7, 3)])
def test_who_is_not_the_keeper_is_not_believed(tmp_path: Path, own: Credentials) -> None:
    with (
        keeper(tmp_path / "s", lambda s: prove(s, own), greeted=False) as path,
        pytest.raises(DeviceError, match=r"no TAP queue: keeper at .*: who listens there does not prove .*dlibos up"),
    ):
        fetch_queue(path, 3, credentials(3, KEEPER))


def test_a_keeper_that_asks_for_no_proof_is_not_believed(tmp_path: Path) -> None:
    def answer_at_once(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b'{"name": "dlibos0", "mtu": 1500}\n')

    with (
        keeper(tmp_path / "s", answer_at_once, greeted=False) as path,
        pytest.raises(DeviceError, match="does not prove to be who it should"),
    ):
        fetch_queue(path, 3, credentials(3, KEEPER))


def test_descriptor_beside_an_error_is_closed(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()

    def answer(connection: socket.socket) -> None:
        socket.send_fds(connection, [b'{"error": "no"}\n'], [write_end])
        os.close(write_end)

    with keeper(tmp_path / "s", answer) as path, pytest.raises(DeviceError):
        fetch_queue(path, 0)
    assert os.read(read_end, 1) == b""  # every write end is closed
    os.close(read_end)


def test_keeper_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlibos_node.nic.queue._TIMEOUT", 0.01)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with pytest.raises(DeviceError, match=r"keeper at .*: timed out; restart the mesh"):
            fetch_queue(str(tmp_path / "s"), 0)


def test_no_keeper(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="No such file or directory; restart the mesh"):
        fetch_queue(str(tmp_path / "nobody"), 0)
