"""The stack tile's TX partition, and its way out: headers go there, a TX message tells the driver to gather.

A driver transmits what one stack tile sends it in order, so TX_DONE only counts: the oldest headers are free again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from dlibos_node.memory import descriptor, layout
from dlibos_node.memory.buffers import Buffers
from dlibos_node.memory.partition import Partition
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.roles import rx
from dlibos_node.tcp.span import Span

HEADER_SIZE: Final = layout.TX.pools[0].size  # Ethernet 14, IPv4 up to 60, TCP up to 60 do not all come at once
FRAME_SIZE: Final = layout.TX.pools[1].size  # whole frames the stack makes itself: ICMP echo
# Where in a flow's key the client's port begins, without its lowest bit: Linux draws even ones.
_CLIENT_PORT: Final = 17
_LARGE_AT: Final = layout.RX.pools[1].base  # where a driver's large receive buffers begin


def needs_checksum(header: bytes) -> bool:
    """Whether the frame that begins so is TCP over IPv4, whose checksum is the device's to complete."""
    return header[12:14] == b"\x08\x00" and header[23] == 6


class _Way:
    """One driver tile: what it was told to send and has not reported done, and what could not be told yet."""

    __slots__ = ("backlog", "born", "finished", "flying", "header", "leaving", "peer", "releases", "sending")

    def __init__(self, peer: Peer, ticket: int) -> None:
        self.peer = peer
        self.born = ticket  # the last ticket before this driver came up
        self.finished = ticket  # the last whose frame it has transmitted
        self.sending = peer.waiting[tags.COMMANDS]
        self.header = peer.header(tags.TX, tags.COMMANDS, 0)
        self.flying: deque[tuple[Buffers, int, int]] = deque()  # pool, slot, ticket
        self.backlog: deque[tuple[bytes, Sequence[Span], int, int]] = deque()
        self.releases: list[int] = []
        self.leaving = False  # WITHDRAWN is due when nothing waits in the backlog


class _Held:
    """How many small and large buffers of one RX partition the stack holds."""

    __slots__ = ("large", "small")

    def __init__(self) -> None:
        self.small = 0
        self.large = 0


class TxPort:
    """`stack.Port` over the NoC. `share` of an RX partition's buffers is what this stack may hold without worry.

    A frame leaves by the driver tile its flow's last frame came in by, or by another that is up when that one has died
    or has withdrawn: the wire behind all of them is the same.
    """

    def __init__(self, partition: Partition, share: float = 0.5) -> None:
        self._most_small = int(rx.SMALL_COUNT * share)
        self._most_large = int(rx.LARGE_COUNT * share)
        self.unroutable = 0  # frames and releases for a driver tile that is not there
        self._view = partition.view
        self._headers = Buffers(partition, partition.layout.pools[0])
        self._frames = Buffers(partition, partition.layout.pools[1])
        self._ticket = 0
        self._ways: dict[int, _Way] = {}
        self._open: dict[int, _Way] = {}  # those that have not withdrawn
        self._choice: list[int] = []  # their numbers
        self._held: dict[int, _Held] = {}  # by number of the RX partition

    @property
    def in_use(self) -> int:
        """Buffers whose frames the drivers have not finished."""
        return self._headers.in_use + self._frames.in_use

    def attach(self, peer: Peer) -> None:
        """A driver tile came up: everything it knew is void."""
        self.detach(peer.number)
        self._ways[peer.number] = self._open[peer.number] = _Way(peer, self._ticket)
        self._choice = sorted(self._open)

    def withdraw(self, number: int) -> None:
        """A driver tile wants to leave: send by others from now on, and tell it when nothing follows."""
        way = self._ways.get(number)
        if way is not None:
            self._open.pop(number, None)
            self._choice = sorted(self._open)
            way.leaving = True
            self._take_leave(way)

    def _take_leave(self, way: _Way) -> None:
        if way.leaving and not way.backlog:
            way.leaving = False
            way.peer.post(tags.COMMANDS, tags.WITHDRAWN)

    def detach(self, number: int) -> None:
        """A driver tile went: its headers are free, what waited for it is lost (TCP sends it again elsewhere)."""
        for partition in [held for held in self._held if descriptor.owner(held) == number]:
            del self._held[partition]
        way = self._ways.pop(number, None)
        self._open.pop(number, None)
        self._choice = sorted(self._open)
        if way is not None:
            for pool, slot, _ in way.flying:
                pool.put(slot)

    # --- stack.Port ---------------------------------------------------------------------------------------------

    def way(self, route: int, key: int) -> int:
        """Return the driver tile by which a frame of the flow `key` leaves whose last one came by `route`.

        `route` itself when there is no other.
        """
        if route in self._open or not self._choice:
            return route
        return self._choice[(key >> _CLIENT_PORT) % len(self._choice)]

    def transmit(self, route: int, header: bytes, spans: Sequence[Span], gso_size: int) -> int:
        """Send a frame by way of driver tile `route`; without a free TX buffer it waits. Returns its ticket.

        Whoever asks `finished` later must have asked `way` before; else any driver tile that is up may send it.
        """
        way = self._open.get(route) or self._ways.get(self.way(route, 0))
        self._ticket = ticket = self._ticket + 1
        if way is None:
            self.unroutable += 1
        elif way.backlog or not self._post(way, header, spans, gso_size, ticket):
            way.backlog.append((header, spans, gso_size, ticket))
        return ticket

    def finished(self, route: int, ticket: int) -> bool:
        """Whether driver tile `route` will not read the payload of that frame any more."""
        way = self._ways.get(route)
        return way is None or ticket <= way.born or ticket <= way.finished

    def held(self, lease: int) -> None:
        """Note that a received frame is the stack's to release."""
        held = self._held.get(lease >> 48)
        if held is None:
            held = self._held[lease >> 48] = _Held()
        if lease & descriptor.LOW32 < _LARGE_AT:
            held.small += 1
        else:
            held.large += 1

    def release(self, lease: int) -> None:
        """Note a buffer of the driver that owns it; `flush_releases` sends them."""
        number = lease >> 48
        way, held = self._ways.get(descriptor.owner(number)), self._held.get(number)
        if way is None or held is None:
            self.unroutable += 1
            return
        way.releases.append(lease)
        if lease & descriptor.LOW32 < _LARGE_AT:
            held.small -= 1
        else:
            held.large -= 1

    def passed(self, lease: int) -> Peer | None:
        """Note that a lease is to become another stack tile's; the driver tile to tell, None if that has gone."""
        number = lease >> 48
        way, held = self._ways.get(descriptor.owner(number)), self._held.get(number)
        if way is None or held is None:
            return None
        if lease & descriptor.LOW32 < _LARGE_AT:
            held.small -= 1
        else:
            held.large -= 1
        return way.peer

    @property
    def leases(self) -> int:
        """Receive buffers that are this stack's to release."""
        return sum(held.small + held.large for held in self._held.values())

    @property
    def drivers(self) -> list[Peer]:
        """The driver tiles whose links are up."""
        return [way.peer for way in self._ways.values()]

    def short(self, lease: int) -> bool:
        """Whether this stack holds its share of the RX partition that a frame lies in."""
        held = self._held.get(lease >> 48)
        return held is not None and (held.small > self._most_small or held.large > self._most_large)

    # --- inside -------------------------------------------------------------------------------------------------

    def _post(self, way: _Way, header: bytes, spans: Sequence[Span], gso_size: int, ticket: int) -> bool:
        size = len(header)
        pool = self._headers if size <= HEADER_SIZE else self._frames
        slot = pool.take()
        if slot < 0:
            return False
        offset = pool.base + slot * pool.size
        self._view[offset : offset + size] = header
        flags = tags.TX_NEEDS_CHECKSUM if needs_checksum(header) else 0
        words = [0, gso_size << 16 | min(size, 255) << 8 | flags, offset << 32 | size, pool.lease(slot)]
        for span in spans:
            words += (span.offset << 32 | span.length, span.lease & descriptor.HIGH32)
        words[0] = way.header | len(words) - 1
        way.sending += words
        way.flying.append((pool, slot, ticket))
        return True

    def done(self, source: int, count: int) -> bool:
        """A driver tile has finished its oldest `count` frames; False when it was not given so many."""
        way = self._ways[source]
        flying, possible = way.flying, count <= len(way.flying)
        for _ in range(count if possible else len(flying)):
            pool, slot, way.finished = flying.popleft()
            pool.put(slot)
        self._send_on(way)
        for other in self._ways.values():
            if other.backlog or other.leaving:
                self._send_on(other)  # what it waits for may be the buffer that has just come back
        return possible

    def _send_on(self, way: _Way) -> None:
        while way.backlog and self._post(way, *way.backlog[0]):
            way.backlog.popleft()
        self._take_leave(way)

    def flush_releases(self) -> None:
        """Give the collected RX buffers back, as many in one message as it holds."""
        for way in self._ways.values():
            if way.releases:
                way.peer.post_all(tags.RELEASES, tags.RELEASE, way.releases, 1)
