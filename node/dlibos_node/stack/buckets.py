"""Which buckets of the steering table this host answers for.

    AWAY ──────────► HELD ──────► STEERING ──────► LEAVING ──────► AWAY
        it was given      it goes to    no frame of it     all its flows
        (BUCKETS)         another       comes any more     have gone

The token is this host's in all states but AWAY, so that no bucket ever has two holders. In HELD and STEERING it answers
what belongs to no connection; in LEAVING nobody does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dlibos_node.wire import flow_hash

AWAY: Final = 0
HELD: Final = 1
STEERING: Final = 2
LEAVING: Final = 3


class Buckets:
    """The book of one host: tile `me` with interface address `address`. `owners`: byte b is whose bucket b is to be.

    Without owners the host answers for everything (the only stack there is).
    """

    __slots__ = ("_address", "_bitmap", "_me", "_states", "held", "owners")

    def __init__(self, me: int, address: int, owners: bytes) -> None:
        self.owners = owners
        self._me = me
        self._address = address
        self._states = bytearray([HELD if owner == me else AWAY for owner in owners] or [HELD])
        self.held = sum(map(bool, self._states)) if owners else 0  # number of buckets that are not AWAY
        self._bitmap: bytes | None = None

    def of(self, key: int) -> int:
        """Return the bucket of a flow's key: peer address << 32 | peer port << 16 | local port."""
        return flow_hash.bucket(key >> 32 ^ self._address, (key >> 16 ^ key) & 0xFFFF, len(self._states))

    def __len__(self) -> int:
        return len(self._states)

    def state(self, bucket: int) -> int:
        """Return AWAY, HELD, STEERING or LEAVING."""
        return self._states[bucket]

    def answers(self, key: int) -> bool:
        """Whether what belongs to no connection is this host's to answer."""
        return 0 < self._states[self.of(key)] < LEAVING

    def move(self, buckets: Iterable[int], state: int) -> None:
        """Put buckets into a state."""
        for bucket in buckets:
            self.held += (state != AWAY) - (self._states[bucket] != AWAY)
            self._states[bucket] = state
        self._bitmap = None

    def misplaced(self) -> dict[int, list[int]]:
        """Return the buckets in HELD that are to be another's, by whose."""
        found: dict[int, list[int]] = {}
        for bucket, owner in enumerate(self.owners):
            if owner != self._me and self._states[bucket] == HELD:
                found.setdefault(owner, []).append(bucket)
        return found

    def elsewhere(self, bucket: int) -> int | None:
        """Return whose a bucket is to be; None if it is to be this host's."""
        owner = self.owners[bucket]
        return None if owner == self._me else owner

    @property
    def bitmap(self) -> bytes:
        """A bit for each bucket whose token is here: bucket b is bit b % 8 of byte b / 8."""
        if self._bitmap is None:
            bits = sum(1 << bucket for bucket in range(len(self.owners)) if self._states[bucket] != AWAY)
            self._bitmap = bits.to_bytes((len(self.owners) + 7) // 8, "little")
        return self._bitmap
