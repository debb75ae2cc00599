"""The runner's side of the clients' process (clients.py)."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from dlibos_orchestrator.attack.page import Secrets
from dlibos_orchestrator.attack.verdict import Clients
from dlibos_orchestrator.errors import MeshStateError
from dlibos_orchestrator.runtime import processes

GRACE: Final = 3.0  # seconds for the process to end


class Crowd:
    """Starts the clients of the mesh at `directory`; `close` ends them."""

    def __init__(self, directory: Path, secrets: Secrets) -> None:
        command = [sys.executable, "-P", "-m", processes.CLIENTS_MODULE, "--dir", str(directory)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._tell(secrets._asdict())

    def _tell(self, words: dict[str, Any]) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()

    def ask(self, what: str, **words: object) -> dict[str, Any]:
        """Have something done; MeshStateError when the clients are gone or cannot do it."""
        try:
            self._tell({"do": what, **words})
            line = self._process.stdout.readline() if self._process.stdout is not None else ""
        except OSError as error:
            raise MeshStateError(f"the clients ended: {error}; run `dlibos attack` again") from error
        if not line:
            raise MeshStateError("the clients ended without a word; run `dlibos attack` again")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MeshStateError(f"a client's {what} failed: {answer['error']}")
        return answer

    def counts(self, rounds: int = 0, patience: float = 0.0) -> Clients:
        """Return the counts so far, once every client was served `rounds` times more or `patience` seconds are over."""
        return Clients(**self.ask("count", rounds=rounds, patience=patience))

    def heard(self, what: str, **words: object) -> bytes:
        """Have connections to the attacker's domain used; return what came by them."""
        return base64.b64decode(self.ask(what, **words)["heard"])

    def close(self) -> None:
        """End the clients."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
