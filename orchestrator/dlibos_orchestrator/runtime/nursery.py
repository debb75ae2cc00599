"""The orchestrator's side of the nursery, the process that forks tiles. Read node/dlibos_node/nursery.py first."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dlibos_orchestrator.errors import MeshStateError, StartError
from dlibos_orchestrator.runtime import processes
from dlibos_orchestrator.runtime.words import last_words

PATIENCE: Final = 20.0  # seconds until it answers; the first time it has to import everything
REPLY: Final = 4096  # bytes of the longest reply
# Room in its command line for a tile's number and an incarnation, which a fork writes there.
ROOM: Final = ("--tile", "." * 3, "--incarnation", "." * 19)


class Nursery:
    """The nursery of the mesh in `directory`, and the only socket that leads to it; it says in `log` what ails it.

    It starts at once and takes its time: what is asked meanwhile waits. One that ended is replaced by the next request.
    """

    def __init__(self, directory: Path, log: Path) -> None:
        self._directory = directory
        self._log = log
        self._pid = 0
        self._socket: socket.socket | None = None
        self._clear()
        self._start()

    def fork(self, order: dict[str, object], descriptors: Sequence[int]) -> int:
        """Return the process id of a new tile; `descriptors`: its log, its credentials. StartError."""
        request = json.dumps(order).encode()
        reply = self._ask(request, descriptors)
        if not reply:
            self.close()
            self._start()
            reply = self._ask(request, descriptors)
        if not reply:
            raise StartError(f"the nursery, which starts tiles, ended: {last_words(self._log) or 'without a word'}")
        said = json.loads(reply)
        if "error" in said:
            raise StartError(f"tile {order['tile']} could not be started: {said['error']}")
        return int(said["pid"])

    def close(self) -> None:
        """End the nursery; its tiles go on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            processes.kill(self._pid)

    def _ask(self, request: bytes, descriptors: Sequence[int]) -> bytes:
        """Return the answer, b"" where the nursery has ended or is stuck."""
        if self._socket is None:
            return b""
        try:
            socket.send_fds(self._socket, [request], descriptors)
            return self._socket.recv(REPLY)
        except OSError:
            return b""

    def _clear(self) -> None:
        """End a nursery that the orchestrator before this one left, lest it start what this one will start too."""
        for process in processes.scan(self._directory):
            if process.module == processes.NURSERY_MODULE and not processes.kill(process.pid):
                raise MeshStateError(f"process {process.pid} does not end; see `ps -o stat {process.pid}`")

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = ["--fd", str(theirs.fileno()), *ROOM]
            inherited = [theirs.fileno()]
            self._pid = processes.spawn(processes.NURSERY_MODULE, self._directory, arguments, self._log, inherited)
        ours.settimeout(PATIENCE)
        self._socket = ours


def open_log(path: Path) -> int:
    """Return a descriptor that appends to a log; the caller closes it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
