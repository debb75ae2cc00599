"""How two processes of one machine come to know each other over a unix socket: lines of JSON in, lines out, no I/O.

    caller                                                               callee
      {"tile": 1, "nonce": hex} ─────────────────────────────────────────►
      ◄───────────── {"nonce": hex, "proof": hex, "pids": [own, the other's]}
      {"proof": hex, "pids": [own, the other's]} ────────────────────────►
      ◄──────── what was asked for, with descriptors, or {"error": reason}

Without credentials the caller says its tile and the callee answers at once. Read `identity` first.

A proof covers the process ids of both ends as its maker has and sees them (SO_PEERCRED). Who takes over a socket's
path and passes on the lines of two honest ends shows both of them his own, and does not get the descriptors. Ends in
unrelated pid namespaces see 0 of each other, which is let pass: between containers the volume's rights keep the paths.
"""

from __future__ import annotations

import enum
import json
import os
import secrets
import socket
import struct
from typing import Any, Final, NamedTuple

from dlibos_node.errors import IdentityError, RefusedError
from dlibos_node.identity import NONCE, Context, Credentials

LINE: Final = 1024  # bytes; the longest line of an exchange has about 200


class Refusal(enum.Enum):
    """Why a caller got nothing; the value is the metric's label."""

    USER = "wrong_user"
    GREETING = "no_greeting"
    PROOF = "wrong_proof"
    SLOW = "timed_out"
    CROWDED = "too_many_unproved"
    RIGHTS = "not_entitled"


class PeerProcess(NamedTuple):
    """The process at the other end of a unix socket, as the kernel tells; `pid` is 0 in a foreign pid namespace."""

    pid: int
    uid: int


def peer_process(sock: socket.socket) -> PeerProcess:
    """Return who connected, or who listened (unix(7), SO_PEERCRED)."""
    pid, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return PeerProcess(pid, uid)


def plain_greeting(tile: int) -> bytes:
    """Return the only line of a caller that has no credentials."""
    return _line({"tile": tile})


def refusal(line: bytes) -> str | None:
    """Return the reason of an {"error": reason} line, None for any other."""
    said = _parse(line)
    return str(said["error"]) if "error" in said else None


def refuse(reason: Refusal) -> bytes:
    """Return the line that tells a caller why it gets nothing."""
    return _line({"error": reason.value})


class Caller:
    """The side that connects to tile `callee` (or to the keeper, by its number) and has credentials."""

    def __init__(self, credentials: Credentials, context: Context, callee: int) -> None:
        self._credentials = credentials
        self._context = context
        self._callee = callee
        self._nonce = secrets.token_bytes(NONCE)

    def greeting(self) -> bytes:
        """Return the first line."""
        return _line({"tile": self._credentials.tile, "nonce": self._nonce.hex()})

    def answer(self, challenge: bytes, seen: PeerProcess) -> bytes:
        """Return the line to send next, to a callee that proved itself; IdentityError otherwise."""
        if (reason := refusal(challenge)) is not None:
            raise RefusedError(reason)
        said = _parse(challenge)
        theirs, proof, pids = _octets(said, "nonce"), _octets(said, "proof"), _pids(said)
        if not _plausible(pids, seen) or not self._credentials.verify(
            self._context, self._callee, self._nonce, theirs, proof, _about(pids)
        ):
            raise IdentityError(
                "who listens there does not prove to be who it should: run `dlibos down` and `dlibos up`"
            )
        mine = (os.getpid(), seen.pid)
        made = self._credentials.prove(self._context, self._callee, theirs, self._nonce, _about(mine))
        return _line({"proof": made.hex(), "pids": mine})


class Callee:
    """The side that listens, for one caller."""

    def __init__(self, credentials: Credentials | None, context: Context, seen: PeerProcess) -> None:
        self.tile = -1  # the caller's; proved once `check` has returned None
        self._credentials = credentials
        self._context = context
        self._seen = seen
        self._nonce = secrets.token_bytes(NONCE)
        self._theirs = b""

    def challenge(self, greeting: bytes) -> bytes | Refusal:
        """Return the line to send next; empty where no proof is asked for."""
        if self._seen.uid != os.geteuid():
            return Refusal.USER
        said = _parse(greeting)
        tile = said.get("tile")
        if type(tile) is not int:
            return Refusal.GREETING
        self.tile, self._theirs = tile, _octets(said, "nonce")
        if self._credentials is None:
            return b""
        mine = (os.getpid(), self._seen.pid)
        proof = self._credentials.prove(self._context, tile, self._theirs, self._nonce, _about(mine))
        return _line({"nonce": self._nonce.hex(), "proof": proof.hex(), "pids": mine}) if proof else Refusal.PROOF

    def check(self, answer: bytes) -> Refusal | None:
        """Return why the caller's answer does not prove that it is `tile`."""
        said = _parse(answer)
        pids = _pids(said)
        good = (
            self._credentials is not None
            and _plausible(pids, self._seen)
            and self._credentials.verify(
                self._context, self.tile, self._nonce, self._theirs, _octets(said, "proof"), _about(pids)
            )
        )
        return None if good else Refusal.PROOF


def _line(message: dict[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _octets(said: dict[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(said.get(name, ""))
    except (ValueError, TypeError):
        return b""


def _pids(said: dict[str, Any]) -> tuple[int, int]:
    match said.get("pids"):
        case [int(own), int(other)] if 0 <= own < 1 << 32 and 0 <= other < 1 << 32:
            return own, other
    return -1, -1


def _about(pids: tuple[int, int]) -> bytes:
    return struct.pack(">qq", *pids)


def _plausible(pids: tuple[int, int], seen: PeerProcess) -> bool:
    own, other = pids
    return own >= 0 and seen.pid in {0, own} and other in {0, os.getpid()}
