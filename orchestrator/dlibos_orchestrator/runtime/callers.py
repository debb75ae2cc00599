"""How the keeper learns who calls it: the callee's side of the exchange that node/dlibos_node/greeting.py describes.

Node and orchestrator never import each other, so the form of a proof is written down on both sides; a test lets the two
talk. The context is the keeper's alone: what was proved to a tile is worth nothing here.
"""

from __future__ import annotations

import enum
import hmac
import json
import os
import secrets
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

from dlibos_orchestrator.model.credentials import KEEPER

CONTEXT: Final = b"dlibos TAP queue"
NONCE: Final = 32  # bytes
LINE: Final = 1024  # bytes; the longest line of an exchange has about 200


class Refusal(enum.Enum):
    """Why a caller got no queue."""

    USER = "wrong_user"
    GREETING = "no_greeting"
    PROOF = "wrong_proof"
    SLOW = "timed_out"
    CROWDED = "too_many_unproved"
    DEVICE = "no_queue"


class Callee:
    """The keeper's side towards one caller. `keys`: those it shares with driver tiles; None asks for no proof."""

    def __init__(self, keys: Mapping[int, bytes] | None, client: socket.socket) -> None:
        self._keys = keys
        self._pid, self._uid, _ = struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        self._tile = -1
        self._key = secrets.token_bytes(NONCE)  # until it is known whose key to use: one that nobody has
        self._nonce = secrets.token_bytes(NONCE)
        self._theirs = b""

    def challenge(self, greeting: bytes) -> bytes | Refusal:
        """Return the line to send next; empty where no proof is asked for."""
        if self._uid != os.geteuid():
            return Refusal.USER
        said = _parse(greeting)
        if type(said.get("tile")) is not int:
            return Refusal.GREETING
        if self._keys is None:
            return b""
        self._tile, self._theirs = said["tile"], _octets(said, "nonce")
        if self._tile not in self._keys or len(self._theirs) != NONCE:
            return Refusal.PROOF
        self._key = self._keys[self._tile]
        pids = (os.getpid(), self._pid)
        proof = self._seal(KEEPER, self._tile, self._theirs, self._nonce, pids)
        return line({"nonce": self._nonce.hex(), "proof": proof.hex(), "pids": pids})

    def check(self, answer: bytes) -> Refusal | None:
        """Return why the caller's answer does not prove that it is the driver tile it says."""
        said = _parse(answer)
        match said.get("pids"):
            case [int(own), int(seen)] if self._pid in {0, own} and seen in {0, os.getpid()} and own >> 32 == 0:
                expected = self._seal(self._tile, KEEPER, self._nonce, self._theirs, (own, seen))
                return None if hmac.compare_digest(expected, _octets(said, "proof")) else Refusal.PROOF
        return Refusal.PROOF

    def _seal(self, prover: int, verifier: int, challenge: bytes, nonce: bytes, pids: tuple[int, int]) -> bytes:
        text = CONTEXT + struct.pack(">II", prover, verifier) + challenge + nonce + struct.pack(">qq", *pids)
        return hmac.digest(self._key, text, "sha256")


def parse_keys(document: bytes) -> dict[int, bytes]:
    """Return the keeper's keys by tile, from the document that `model/credentials.py` makes."""
    return {int(tile): bytes.fromhex(key) for tile, key in json.loads(document)["peers"].items()}


def line(message: dict[str, object]) -> bytes:
    """Return a message as it crosses the socket."""
    return json.dumps(message).encode() + b"\n"


def _parse(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _octets(said: dict[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(said.get(name, ""))
    except (ValueError, TypeError):
        return b""
