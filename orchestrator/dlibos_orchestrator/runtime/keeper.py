"""The process that owns a mesh's network namespace and its TAP device, and hands queues of it to driver tiles.

`python -m dlibos_orchestrator.runtime.keeper --dir DIR --ready-fd FD [--credentials-fd FD]`. A client that connects to
the unix socket mesh.json names (nic.keeper) and proves that it is a driver tile (`callers`) gets one line of JSON,
{"name": ..., "mtu": ...} or {"error": ...}, and with the former one new queue's descriptor (SCM_RIGHTS), detached. One
queue per connection. The namespace ends with the keeper and the last process that holds a queue.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.runtime import interface, namespace
from dlibos_orchestrator.runtime.callers import LINE, Callee, Refusal, line, parse_keys
from dlibos_orchestrator.runtime.directory import MeshDirectory

PATIENCE: Final = 2.0  # seconds a client may take to prove who it is
# Opened before there is traffic: a queue is attached from its first moment on, and what comes before it is detached is
# lost. A driver that starts in a busy mesh takes one of these; the device has 256 in all.
SPARE_QUEUES: Final = 64
CLIENTS: Final = 64  # at once; when there are more, the oldest makes room


def make_device(nic: mesh_pb2.Nic) -> int:
    """Enter a fresh namespace and make the device there; return the detached queue that keeps it alive."""
    namespace.enter_fresh()
    interface.bring_up("lo")
    return interface.make_tap(interface.TAP_NAME, nic.peer_mac, nic.peer_address, nic.mtu)


class Keeper:
    """Hands out queues at `listener`, first the `spare` ones.

    `keys` are those it shares with driver tiles, None gives to whoever asks.
    """

    def __init__(
        self, listener: socket.socket, mtu: int, keys: Mapping[int, bytes] | None, spare: Sequence[int] = ()
    ) -> None:
        self.refused: Counter[Refusal] = Counter()
        self._clients: dict[asyncio.Task[None], None] = {}
        self._listener = listener
        self._mtu = mtu
        self._keys = keys
        self._spare = list(spare)

    async def serve(self) -> None:
        """Answer clients until the process is ended."""
        self._listener.setblocking(False)
        while True:
            client, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            if len(self._clients) >= CLIENTS:
                oldest = next(iter(self._clients))
                del self._clients[oldest]
                oldest.cancel()
            task = asyncio.create_task(self._answer(client))
            self._clients[task] = None
            task.add_done_callback(lambda ended: self._clients.pop(ended, None))
            await asyncio.sleep(0)  # it begins before it can be told to make room: who never began would close nothing

    async def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # a client that has gone needs nothing any more
            if (reason := await self._examine(client)) is None:
                reason = hand_out(client, self._mtu, self._spare)
            else:
                client.send(line({"error": reason.value}))
            if reason is not None:
                self._count(reason)

    async def _examine(self, client: socket.socket) -> Refusal | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._admit(client)
        except TimeoutError:
            return Refusal.SLOW
        except asyncio.CancelledError:
            return Refusal.CROWDED
        except OSError:
            return Refusal.GREETING

    async def _admit(self, client: socket.socket) -> Refusal | None:
        callee = Callee(self._keys, client)
        challenge = callee.challenge(await _read_line(client))
        if isinstance(challenge, Refusal) or not challenge:
            return challenge or None
        await asyncio.get_running_loop().sock_sendall(client, challenge)
        return callee.check(await _read_line(client))

    def _count(self, reason: Refusal) -> None:
        self.refused[reason] += 1
        if self.refused[reason] == 1:  # strangers do not fill the log
            print(f"a client got no queue: {reason.value}", file=sys.stderr, flush=True)


async def _read_line(client: socket.socket) -> bytes:
    text = b""
    while b"\n" not in text and len(text) < LINE:
        more = await asyncio.get_running_loop().sock_recv(client, LINE)
        if not more:
            break
        text += more
    return text


def hand_out(client: socket.socket, mtu: int, spare: list[int]) -> Refusal | None:
    """Give a client a detached queue, a `spare` one if there is any, or the kernel's reason why there is none."""
    try:
        queue = spare.pop() if spare else interface.open_detached_queue(interface.TAP_NAME)
    except OSError as error:
        client.send(line({"error": f"no queue of {interface.TAP_NAME}: {error.strerror}"}))
        return Refusal.DEVICE
    try:
        socket.send_fds(client, [line({"name": interface.TAP_NAME, "mtu": mtu})], [queue])
    finally:
        os.close(queue)
    return None


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the keeper; one line on `--ready-fd` says whether it serves."""
    parser = argparse.ArgumentParser(prog="keeper")
    parser.add_argument("--dir", required=True, type=Path)
    parser.add_argument("--ready-fd", required=True, type=int)
    parser.add_argument("--credentials-fd", type=int)
    options = parser.parse_args(arguments)
    keys = _read_keys(options.credentials_fd)
    nic = MeshDirectory(options.dir).read_mesh().nic
    os.chdir("/")
    with os.fdopen(options.ready_fd, "w") as ready:
        try:
            make_device(nic)
            spare = [interface.open_detached_queue(interface.TAP_NAME) for _ in range(SPARE_QUEUES)]
            listener = _listen(Path(nic.keeper))
        except OSError as error:
            ready.write(f"no TAP device: {error.strerror}; use --nic user, or see `dlibos doctor`")
            return 1
        ready.write("ready")
    asyncio.run(Keeper(listener, nic.mtu, keys, spare).serve())
    return 0


def _read_keys(descriptor: int | None) -> dict[int, bytes] | None:
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as source:
        return parse_keys(source.read())


if __name__ == "__main__":
    sys.exit(main())
