"""Orders to attackers: JSON lines over their control sockets (node/dlibos_node/attack/control.py)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dlibos_orchestrator.attack.verdict import Answer
from dlibos_orchestrator.errors import MeshStateError

PATIENCE: Final = 15.0  # seconds; the longest attack takes two
POLL: Final = 0.02


class Attacker:
    """The control socket at `path`. MeshStateError when nobody listens there in time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while not self._connected():
            if time.monotonic() > deadline:
                self._socket.close()
                raise MeshStateError(f"no attacker listens at {path}: see the log of its process")
            time.sleep(POLL)
        self._lines = self._socket.makefile("rb")

    def _connected(self) -> bool:
        try:
            self._socket.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def order(self, name: str, order: Mapping[str, Any]) -> Answer:
        """Have an attack performed; an attacker that dies of it answers with an error."""
        try:
            self._socket.sendall(json.dumps({"do": name, "order": order}).encode() + b"\n")
            line = self._lines.readline()
        except OSError as error:
            return Answer(error=f"the attacker does not answer: {error}")
        return parse(line) if line else Answer(error="the attacker's process ended")

    def close(self) -> None:
        """Order nothing any more."""
        self._lines.close()
        self._socket.close()


def parse(line: bytes) -> Answer:
    """Return what an answer says."""
    said = json.loads(line)
    if "error" in said:
        return Answer(error=str(said["error"]))
    steps = tuple((str(what), str(result)) for what, result in said["steps"])
    return Answer(steps, said["reached"], str(said["detail"]), tuple(map(str, said["read"])))
