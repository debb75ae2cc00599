"""Fetch a TAP queue from its keeper: the process that owns the network namespace and opens the queues in it.

Over the keeper's unix socket both prove who they are (`greeting`); the keeper answers with one JSON line, {"name": ...,
"mtu": ...}, and the descriptor of a detached queue beside it (SCM_RIGHTS), or with {"error": ...} and none. One queue
per connection.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Final, NamedTuple

from dlibos_node import greeting
from dlibos_node.errors import DeviceError, IdentityError
from dlibos_node.greeting import Caller
from dlibos_node.identity import KEEPER, Context, Credentials

_TIMEOUT: Final = 10.0  # seconds; the keeper answers at once or is dead
_MAX_ANSWER: Final = 4096


class QueueInfo(NamedTuple):
    """The interface a queue belongs to; `mtu` in bytes."""

    name: str
    mtu: int


def fetch_queue(path: str, tile: int, credentials: Credentials | None = None) -> tuple[int, QueueInfo]:
    """Return the descriptor of a new queue for `tile`, which owns it, from the keeper that listens at `path`.

    Blocks for at most ten seconds a message. Raises DeviceError when the keeper cannot be reached, is not the keeper,
    refuses, or makes no sense.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as keeper:
            keeper.settimeout(_TIMEOUT)
            keeper.connect(path)
            _introduce(keeper, tile, credentials)
            line, descriptors = _answer(keeper)
    except IdentityError as error:
        raise DeviceError(f"no TAP queue: keeper at {path}: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DeviceError(f"no TAP queue: keeper at {path}: {reason}; restart the mesh with `dlibos up`") from error
    try:
        info = _parse(line)
        if len(descriptors) != 1:
            raise DeviceError(f"it sent {len(descriptors)} descriptors, not one")
    except DeviceError as error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise DeviceError(f"no TAP queue: keeper at {path}: {error}; see `dlibos doctor`") from error
    os.set_inheritable(descriptors[0], False)
    return descriptors[0], info


def _introduce(keeper: socket.socket, tile: int, credentials: Credentials | None) -> None:
    if credentials is None:
        keeper.sendall(greeting.plain_greeting(tile))
        return
    caller = Caller(credentials, Context.KEEPER, KEEPER)
    keeper.sendall(caller.greeting())
    challenge = b""
    while b"\n" not in challenge and (more := keeper.recv(greeting.LINE)) and len(challenge) < greeting.LINE:
        challenge += more
    keeper.sendall(caller.answer(challenge, greeting.peer_process(keeper)))


def _answer(keeper: socket.socket) -> tuple[bytes, list[int]]:
    """Read up to the end of the line, or of the stream; descriptors come with its first byte."""
    line, descriptors, _, _ = socket.recv_fds(keeper, _MAX_ANSWER, 1)
    while b"\n" not in line and len(line) < _MAX_ANSWER and (more := keeper.recv(_MAX_ANSWER)):
        line += more
    return line, descriptors


def _parse(line: bytes) -> QueueInfo:
    try:
        if (reason := greeting.refusal(line)) is not None:
            raise DeviceError(reason)
        answer = json.loads(line)
        return QueueInfo(str(answer["name"]), int(answer["mtu"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"answer {line[:80]!r} is not what a keeper says") from error
