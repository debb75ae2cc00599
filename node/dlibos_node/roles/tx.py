"""The stack tile's TX partition, and its way out: headers go there, a TX message tells the driver to gather.

A driver transmits what one stack tile sends it in order, so TX_DONE only counts: the oldest headers are free again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from dlibos_node.memory import descriptor
from dlibos_node.memory.buffers import Buffers
from dlibos_node.memory.partition import Partition
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.roles import rx
from dlibos_node.tcp.span import Span

HEADER_SIZE: Final = 128  # Ethernet 14, IPv4 up to 60, TCP up to 60 do not all come at once
HEADER_COUNT: Final = 8192
FRAME_SIZE: Final = 2048  # whole frames the stack makes itself: ICMP echo
FRAME_COUNT: Final = 256
_LARGE_AT: Final = rx.SMALL * rx.SMALL_COUNT  # where a driver's large receive buffers begin

SIZE: Final = HEADER_SIZE * HEADER_COUNT + FRAME_SIZE * FRAME_COUNT


class _Way:
    """One driver tile: what it was told to send and has not reported done, and what could not be told yet."""

    __slots__ = ("backlog", "flying", "header", "large", "peer", "releases", "sending", "small")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.sending = peer.waiting[tags.COMMANDS]
        self.header = peer.header(tags.TX, tags.COMMANDS, 0)
        self.flying: deque[tuple[Buffers, int]] = deque()
        self.backlog: deque[tuple[bytes, Sequence[Span], int]] = deque()
        self.releases: list[int] = []
        self.small = 0  # small and large RX buffers of this driver that the stack holds
        self.large = 0


class TxPort:
    """`stack.Port` over the NoC. `share` of a driver's receive buffers is what this stack may hold without worry."""

    def __init__(self, partition: Partition, share: float = 0.5) -> None:
        self._most_small = int(rx.SMALL_COUNT * share)
        self._most_large = int(rx.LARGE_COUNT * share)
        self.unroutable = 0  # frames and releases for a driver tile that is not there
        self._view = partition.view
        self._headers = Buffers(partition.number, 0, HEADER_SIZE, HEADER_COUNT)
        self._frames = Buffers(partition.number, self._headers.end, FRAME_SIZE, FRAME_COUNT)
        self._lease = descriptor.lease(partition.number, 0)
        self._ways: dict[int, _Way] = {}

    @property
    def in_use(self) -> int:
        """Buffers whose frames the drivers have not finished."""
        return self._headers.in_use + self._frames.in_use

    def attach(self, peer: Peer) -> None:
        """A driver tile came up: everything it knew is void."""
        self.detach(peer.number)
        self._ways[peer.number] = _Way(peer)

    def detach(self, number: int) -> None:
        """A driver tile went: its headers are free, what waited for it is lost (TCP sends it again elsewhere)."""
        way = self._ways.pop(number, None)
        if way is not None:
            for pool, slot in way.flying:
                pool.put(slot)

    # --- stack.Port ---------------------------------------------------------------------------------------------

    def transmit(self, route: int, header: bytes, spans: Sequence[Span], gso_size: int) -> None:
        """Send a frame by way of driver tile `route`; without a free TX buffer it waits its turn."""
        way = self._ways.get(route)
        if way is None:
            self.unroutable += 1
        elif way.backlog or not self._post(way, header, spans, gso_size):
            way.backlog.append((header, spans, gso_size))

    def held(self, source: int, offset: int) -> None:
        """Note that a frame at `offset` of a driver's RX partition is the stack's to release."""
        way = self._ways.get(source)
        if way is not None and offset < _LARGE_AT:
            way.small += 1
        elif way is not None:
            way.large += 1

    def release(self, lease: int) -> None:
        """Note a buffer of the driver that owns it; `flush_releases` sends them."""
        way = self._ways.get(descriptor.owner(lease >> 48))
        if way is None:
            self.unroutable += 1
            return
        way.releases.append(lease)
        if lease & descriptor.LOW32 < _LARGE_AT:
            way.small -= 1
        else:
            way.large -= 1

    def short(self, route: int) -> bool:
        """Whether this stack holds its share of a driver's receive buffers."""
        way = self._ways.get(route)
        return way is not None and (way.small > self._most_small or way.large > self._most_large)

    # --- inside -------------------------------------------------------------------------------------------------

    def _post(self, way: _Way, header: bytes, spans: Sequence[Span], gso_size: int) -> bool:
        size = len(header)
        pool = self._headers if size <= HEADER_SIZE else self._frames
        slot = pool.take()
        if slot < 0:
            return False
        offset = pool.base + slot * pool.size
        self._view[offset : offset + size] = header
        flags = tags.TX_NEEDS_CHECKSUM if header[12:14] == b"\x08\x00" and header[23] == 6 else 0
        words = [0, gso_size << 16 | min(size, 255) << 8 | flags, offset << 32 | size, self._lease]
        for span in spans:
            words += (span.offset << 32 | span.length, span.lease & descriptor.HIGH32)
        words[0] = way.header | len(words) - 1
        way.sending += words
        way.flying.append((pool, slot))
        return True

    def done(self, source: int, payload: list[int], _now: int) -> None:
        """TX_DONE: a driver tile has finished its oldest frames."""
        way, count = self._ways[source], payload[0]
        flying = way.flying
        for _ in range(min(count, len(flying))):
            pool, slot = flying.popleft()
            pool.put(slot)
        while way.backlog and self._post(way, *way.backlog[0]):
            way.backlog.popleft()

    def flush_releases(self) -> None:
        """Give the collected RX buffers back, as many in one message as it holds."""
        for way in self._ways.values():
            if way.releases:
                way.peer.post_all(tags.RELEASES, tags.RELEASE, way.releases, 1)
