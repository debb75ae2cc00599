"""A network device whose client is in the same process and costs the server next to nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from dlibos_node.nic.device import DeviceStatistics
from dlibos_node.nic.memory import Private
from dlibos_node.nic.virtio import HEADER_LENGTH
from dlibos_node.wire.buffer import Buffer


class Wire(Private):
    """A `Device`: frames for the mesh wait in `towards`, what the mesh sent lies in `sent` without its virtio header.

    Both directions copy a frame once, as the kernel does.
    """

    __slots__ = ("mtu", "offloads", "sent", "statistics", "towards")

    def __init__(self) -> None:
        self.mtu = 1500
        self.offloads: tuple[str, ...] = ("csum", "tso4")
        self.statistics = DeviceStatistics()
        self.towards: deque[bytes] = deque()
        self.sent: list[bytes] = []

    def fileno(self) -> int:
        """Return no descriptor: whoever runs the chip looks at `towards`."""
        return -1

    def receive(self, buffers: Sequence[memoryview]) -> int:
        """Take the oldest frame; all of this client's fit the first buffer (see Device)."""
        if not self.towards:
            return 0
        frame = self.towards.popleft()
        size = len(frame)
        buffers[0][:size] = frame
        self.statistics.rx_frames += 1
        self.statistics.rx_bytes += size - HEADER_LENGTH
        return size

    def transmit(self, parts: Sequence[Buffer]) -> bool:
        """Keep a copy of the frame (see Device)."""
        frame = b"".join(parts[1:])
        self.statistics.tx_frames += 1
        self.statistics.tx_bytes += len(frame)
        self.sent.append(frame)
        return True

    def close(self) -> None:
        """Nothing is open."""
