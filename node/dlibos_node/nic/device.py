"""What a driver tile asks of a network device. Read this first; tap.py and user.py are devices, pcap.py wraps one."""

from __future__ import annotations

import enum
import errno
from collections.abc import Sequence
from typing import Final, Protocol

from dlibos_node.wire.buffer import Buffer


class Drop(enum.Enum):
    """Why a device did not take, or give, a frame."""

    FULL = "full"  # its queue has no room
    DOWN = "down"  # the interface is administratively down
    GONE = "gone"  # the interface was removed: this descriptor will never work again
    REFUSED = "refused"  # the frame or its virtio header makes no sense to the device


_REASONS: Final = {
    errno.EAGAIN: Drop.FULL,
    errno.ENOBUFS: Drop.FULL,
    errno.ENOMEM: Drop.FULL,
    errno.EIO: Drop.DOWN,
    errno.ENETDOWN: Drop.DOWN,
    errno.EBADFD: Drop.GONE,
    errno.EBADF: Drop.GONE,
    errno.ENODEV: Drop.GONE,
}


class DeviceStatistics:
    """Counters of one device since it was opened; bytes include Ethernet but not the virtio header."""

    __slots__ = ("drops", "rx_bytes", "rx_frames", "tx_bytes", "tx_frames")

    def __init__(self) -> None:
        self.rx_frames = 0
        self.rx_bytes = 0
        self.tx_frames = 0
        self.tx_bytes = 0
        self.drops: Final = dict.fromkeys(Drop, 0)

    @property
    def gone(self) -> bool:
        """The interface was removed, or the device closed: nothing will come or go any more."""
        return self.drops[Drop.GONE] > 0

    def failed(self, error: OSError) -> None:
        """Count a read or write that the kernel refused."""
        self.drops[_REASONS.get(error.errno or 0, Drop.REFUSED)] += 1


class Device(Protocol):
    """A network interface that moves whole Ethernet frames, each behind a virtio-net header (virtio.py).

    `mtu` is in bytes of IP packet. `offloads` names what the device may leave to the reader of a received frame, and
    equally accepts in a transmitted one: "csum" (partial checksums), "tso4" and "tso6" (frames longer than the MTU),
    "tso_ecn" (such frames with CWR set).
    """

    mtu: int
    offloads: tuple[str, ...]
    statistics: DeviceStatistics

    def fileno(self) -> int:
        """Return a descriptor that is readable while `receive` would return a frame."""

    def attach(self) -> None:
        """Let frames come; none does before the first call. Again: nothing. DeviceError when that cannot be."""

    def quiesce(self) -> None:
        """Take no new connections, where the device itself ends connections; other devices do not know any."""

    @property
    def idle(self) -> bool:
        """Whether no connection depends on this device: others of the mesh can do its work."""

    def detach(self) -> None:
        """Let no more frames come, those for this device go to others of the mesh; `transmit` goes on. Again: nothing.

        Read until `receive` gives 0 before. What arrives between that and the end of this call may be lost, as on a
        wire: TCP sends it again, and ARP and a client's SYN are asked again by their sender.
        """

    def receive(self, buffers: Sequence[memoryview]) -> int:
        """Read one frame, scattered over `buffers` in their order, and return the bytes stored; 0: none waits.

        The virtio header comes first, so the first buffer's first ten bytes are it. A frame longer than the buffers
        is cut off silently, as the kernel does: offer MAX_FRAME bytes where TSO was granted. A device that is down
        or gone gives 0 and counts the reason.
        """

    def transmit(self, parts: Sequence[Buffer]) -> bool:
        """Send one frame gathered from `parts`, of which the first begins with the virtio header.

        The parts may be reused when it returns. False: the frame is lost, and `statistics.drops` says why.
        """

    def close(self) -> None:
        """Give the device up. Closing twice is allowed; a closed device receives nothing and takes nothing."""
