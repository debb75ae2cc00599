"""Who a tile is: proofs that a process has the key which a pair of tiles shares, over nonces of both sides.

The control plane draws one key when the mesh comes up, derives a key for each pair that has business with each other
and gives every tile its own pairs' keys over an inherited descriptor. So a compromised tile can pass for nobody but
itself. Both sides of a link, a handover or a call at the keeper prove themselves, on every connection:

    caller ── tile, nonce ───────────► callee
    caller ◄─────── nonce, proof ───── callee       the caller knows the callee
    caller ── proof ─────────────────► callee       the callee knows the caller
"""

from __future__ import annotations

import enum
import hmac
import json
import os
import struct
from collections.abc import Mapping
from typing import Final

from dlibos_node.errors import ConfigurationError

NONCE: Final = 32  # bytes
KEY: Final = 32  # bytes
KEEPER: Final = 0xFFFFFFFF  # the keeper's number where a tile's is asked for
MOST: Final = 1 << 20  # bytes of a credentials document; 256 tiles need 20 KiB


class Context(enum.Enum):
    """What a proof is for, 16 bytes; it is good for nothing else."""

    NOC = b"dlibos noc link."
    MEMORY = b"dlibos handover."
    KEEPER = b"dlibos TAP queue"


class Credentials:
    """The keys tile `tile` shares with others, by their numbers, and its password on the bus."""

    __slots__ = ("_keys", "bus", "tile")

    def __init__(self, tile: int, keys: Mapping[int, bytes], bus: str = "") -> None:
        self.tile = tile
        self.bus = bus
        self._keys = dict(keys)

    def prove(self, context: Context, verifier: int, theirs: bytes, mine: bytes, about: bytes = b"") -> bytes:
        """Return the proof for `verifier`, which drew the nonce `theirs`; `about`: what else both sides must agree on.

        Empty where no key is shared or a nonce is malformed: an empty proof never verifies.
        """
        return self._seal(verifier, (context, self.tile, verifier, theirs, mine), about)

    def verify(
        self, context: Context, prover: int, mine: bytes, theirs: bytes, proof: bytes, about: bytes = b""
    ) -> bool:
        """Tell whether `proof` was made for this tile's nonce `mine` by `prover`, which drew `theirs`."""
        expected = self._seal(prover, (context, prover, self.tile, mine, theirs), about)
        return bool(expected) and hmac.compare_digest(expected, proof)

    def _seal(self, other: int, facts: tuple[Context, int, int, bytes, bytes], about: bytes) -> bytes:
        context, prover, verifier, challenge, nonce = facts
        key = self._keys.get(other)
        if key is None or len(challenge) != NONCE or len(nonce) != NONCE:
            return b""
        # All parts but the last have a fixed length: no two sets of facts give the same text.
        text = context.value + struct.pack(">II", prover, verifier) + challenge + nonce + about
        return hmac.digest(key, text, "sha256")


def receive(descriptor: int, tile: int) -> Credentials:
    """Read a tile's credentials from an inherited descriptor, and close it; ConfigurationError when they are none."""
    try:
        with os.fdopen(descriptor, "rb") as source:
            return parse(source.read(MOST), tile)
    except OSError as error:
        raise ConfigurationError(
            f"--credentials-fd {descriptor}: {error.strerror}: start tiles by `dlibos up`"
        ) from error


def parse(document: bytes, tile: int) -> Credentials:
    """Return the credentials of {"peers": {"3": hex, ...}, "keeper": hex, "bus": password}.

    Only driver tiles have a keeper's key; without a bus there is no password.
    """
    try:
        described = json.loads(document)
        keys = {int(peer): _key(text) for peer, text in described["peers"].items()}
        if "keeper" in described:
            keys[KEEPER] = _key(described["keeper"])
        bus = described.get("bus", "")
        if not isinstance(bus, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError):
        # Without the cause: its text might show a key.
        raise ConfigurationError(
            "the credentials make no sense: start tiles by the `dlibos up` of this version"
        ) from None
    return Credentials(tile, keys, bus)


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != KEY:
        raise ValueError("not a key")
    return key
