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
from dlibos_node.nic.queue import QueueInfo, fetch_queue

Answer = Callable[[socket.socket], object]


@contextmanager
def keeper(path: Path, answer: Answer) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1024) == b'{"tile": 0}\n'
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
