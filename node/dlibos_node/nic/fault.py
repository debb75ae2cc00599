"""Do to frames what a bad network does, the same way every time: loss, duplicates, bit errors, reordering."""

from __future__ import annotations

import os
import random
import select
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from dlibos_node.errors import ConfigurationError
from dlibos_node.nic.device import Device
from dlibos_node.nic.memory import scatter
from dlibos_node.nic.segment import complete_checksum, wire_packets
from dlibos_node.nic.virtio import ETHERNET_LENGTH, HEADER_LENGTH, MAX_FRAME
from dlibos_node.nic.wrapper import Wrapper
from dlibos_node.wire.buffer import Buffer

_IP: Final = HEADER_LENGTH + ETHERNET_LENGTH
_IPV4: Final = b"\x08\x00"


class Rates(NamedTuple):
    """Probabilities, 0 to 1, per wire packet and direction, independent of each other."""

    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0


class FaultCounts:
    """What was done to one direction. `packets` counts what came in, before any fault."""

    __slots__ = ("corrupted", "duplicated", "lost", "packets", "reordered")

    def __init__(self) -> None:
        self.packets = 0
        self.lost = 0
        self.duplicated = 0
        self.corrupted = 0
        self.reordered = 0  # packets that a later one did overtake


class Lane:
    """One direction: packets go in one by one, and come out hurt, twice, later, or not at all."""

    __slots__ = ("_rates", "_roll", "counts", "held")

    def __init__(self, seed: str, rates: Rates) -> None:
        # A reproducible experiment, not a secret: the same seed must give the same faults in every run.
        self._roll: Final = random.Random(seed)  # noqa: S311
        self._rates: Final = rates
        self.counts: Final = FaultCounts()
        self.held: list[bytearray] = []

    def send(self, packet: bytearray) -> list[bytearray]:
        """Put one packet in; return those that come out now, in their order."""
        # Always four numbers per packet, so that one rate does not change what another one hits.
        lose, duplicate, corrupt, reorder = (self._roll.random() < rate for rate in self._rates)
        counts = self.counts
        counts.packets += 1
        if lose:
            counts.lost += 1
            return []
        if corrupt:
            counts.corrupted += 1
            if not self._corrupt(packet):
                return []
        leaving = [packet, packet] if duplicate else [packet]
        counts.duplicated += duplicate
        if self.held:
            counts.reordered += 1
            leaving += self.release()
        elif reorder:
            self.held, leaving = leaving, []
        return leaving

    def release(self) -> list[bytearray]:
        """Let go what waited to be overtaken."""
        held, self.held = self.held, []
        return held

    def _corrupt(self, packet: bytearray) -> bool:
        """Flip one bit that an IPv4, TCP, UDP or ICMP checksum covers.

        Other packets, ARP for one, have no checksum but that of the Ethernet frame, which the receiving card checks:
        they answer False and are dropped.
        """
        complete_checksum(packet)
        length = int.from_bytes(packet[_IP + 2 : _IP + 4])
        if packet[_IP - 2 : _IP] != _IPV4 or not 20 <= length <= len(packet) - _IP:
            return False
        bit = self._roll.randrange(length * 8)
        packet[_IP + bit // 8] ^= 1 << bit % 8
        return True


class Fault(Wrapper):
    """A `Device` around another that loses, duplicates, corrupts and reorders wire packets of both directions.

    Long TCP segments are cut into wire packets first, so that the rates mean what they mean on a wire; corruption hits
    complete checksums, so that the receiver notices. A reordered packet is held until the next one of its direction
    has passed, or, when none comes, until `receive` is called again, which `fileno` asks for. The same seed, rates and
    traffic give the same faults; each direction has a stream of its own. Raises ConfigurationError for a rate that is
    not a probability.
    """

    __slots__ = ("_event", "_poll", "_ready", "_scratch", "_signalled", "rx", "tx")

    def __init__(self, device: Device, seed: int, rates: Rates) -> None:
        for name, rate in rates._asdict().items():
            if not 0.0 <= rate <= 1.0:
                raise ConfigurationError(f"fault rate {name}={rate} is not a probability; give a number from 0 to 1")
        super().__init__(device)
        self.rx: Final = Lane(f"{seed} rx", rates)
        self.tx: Final = Lane(f"{seed} tx", rates)
        self._ready: Final[deque[bytearray]] = deque()
        self._scratch: Final = memoryview(bytearray(MAX_FRAME))
        self._signalled = False
        self._event: Final = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll: Final = select.epoll()
        self._poll.register(self._event, select.EPOLLIN)
        self._poll.register(device.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that is readable when the device's is, and while packets wait in here."""
        return self._poll.fileno() if not self._poll.closed else -1

    def receive(self, buffers: Sequence[memoryview]) -> int:
        """Return the next packet that survived (see Device)."""
        for packet in self.tx.release():
            self._device.transmit((packet,))
        if not self._ready:
            self._fill()
        count = scatter((self._ready.popleft(),), buffers) if self._ready else 0
        self._signal()
        return count

    def transmit(self, parts: Sequence[Buffer]) -> bool:
        """Send what survives of a frame (see Device). A packet lost on purpose counts as sent."""
        taken = True
        for packet in wire_packets(bytearray(b"".join(parts))):
            for leaving in self.tx.send(packet):
                taken &= self._device.transmit((leaving,))
        self._signal()
        return taken

    def close(self) -> None:
        """Close the device; packets that wait are lost."""
        if not self._poll.closed:
            self._poll.close()
            os.close(self._event)
        self._ready.clear()
        self._device.close()

    def _fill(self) -> None:
        """Read from the device until something survives or nothing waits."""
        held_before = bool(self.rx.held)
        while not self._ready:
            count = self._device.receive((self._scratch,))
            if not count:
                self._ready.extend(self.rx.release() if held_before else ())
                return
            for packet in wire_packets(bytearray(self._scratch[:count])):
                self._ready.extend(self.rx.send(packet))

    def _signal(self) -> None:
        """Make the event readable while anything waits in here."""
        waiting = bool(self._ready or self.rx.held or self.tx.held)
        if waiting == self._signalled or self._poll.closed:
            return
        self._signalled = waiting
        if waiting:
            os.eventfd_write(self._event, 1)
        else:
            os.eventfd_read(self._event)
