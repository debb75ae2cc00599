"""Into which domain's memory a received frame goes.

With one domain every frame is read straight into its RX partition. With several a frame must be known before it is
shown to anybody: mPIPE classifies before it writes to memory; a TAP device cannot, so the frame is read into private
memory and copied from there. What belongs to no domain goes where only stack tiles read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dlibos_node.memory import descriptor
from dlibos_node.memory.fault import Fault
from dlibos_node.nic import virtio
from dlibos_node.roles.rx import LARGE, Received, RxMemory
from dlibos_node.roles.steering import destination_port

ATTEMPTS: Final = 64  # frames that may be lost in one read before others get their turn


class Reception:
    """A driver's RX memories by domain. `domains` maps a port to its domain's number.

    `leases`: whether a buffer comes back only from whom it was lent to.
    """

    __slots__ = ("_by_number", "_domains", "_only", "_staging", "leases", "memories")

    def __init__(self, memories: Mapping[int, RxMemory], domains: Mapping[int, int]) -> None:
        self.memories = dict(memories)
        self.leases = all(memory.leases for memory in self.memories.values())
        self._domains = dict(domains)
        self._by_number = {memory.number: memory for memory in self.memories.values()}
        several = len(self.memories) > 1
        self._only: RxMemory | None = None if several else next(iter(self.memories.values()))
        self._staging = memoryview(bytearray(LARGE if several else 0))

    @property
    def common(self) -> RxMemory:
        """Where frames lie that belong to no application."""
        return self._only or self.memories[descriptor.SYSTEM_DOMAIN]

    def read(self, receive: Callable[[Sequence[memoryview]], int]) -> Received | None:
        """Read one frame into the memory of the domain it belongs to; None when there is none to hand on."""
        if self._only is not None:
            return self._only.read(receive)
        for _ in range(ATTEMPTS):
            length = receive((self._staging,))
            if not length:
                return None
            frame = self._memory_of(length).store(self._staging[:length])
            if frame is not None:
                return frame  # else a domain that hoards its buffers loses the frame, not the others' turn
        return None

    def _memory_of(self, length: int) -> RxMemory:
        port = destination_port(self._staging, virtio.HEADER_LENGTH, length - virtio.HEADER_LENGTH)
        return self.memories[self._domains.get(port, descriptor.SYSTEM_DOMAIN)]

    def release(self, word: int, tile: int) -> Fault | None:
        """Take a lease back from `tile`, or say why not."""
        memory = self._by_number.get(word >> 48)
        return Fault.PARTITION if memory is None else memory.release(word, tile)

    def pass_on(self, word: int, tile: int, to: int) -> Fault | None:
        """Make a lease of stack tile `tile` that of stack tile `to`, or say why not."""
        memory = self._by_number.get(word >> 48)
        return Fault.PARTITION if memory is None else memory.pass_on(word, tile, to)

    def release_unchecked(self, word: int) -> None:
        """Take a lease back from whoever gives it (the unprotected mode). May raise KeyError, IndexError."""
        self._by_number[word >> 48].release_unchecked(word)

    def reclaim(self, tile: int) -> int:
        """Take back what a dead tile held; return how many buffers."""
        return sum(memory.reclaim(tile) for memory in self.memories.values())

    @property
    def in_use(self) -> int:
        """Buffers taken or leased."""
        return sum(memory.in_use for memory in self.memories.values())

    @property
    def overflowed(self) -> int:
        """Frames lost because their domain had no buffer free."""
        return sum(memory.overflowed for memory in self.memories.values())
