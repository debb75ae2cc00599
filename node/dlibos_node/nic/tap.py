"""One queue of a kernel TAP device, opened elsewhere (queue.py): one read or write per frame, the kernel offloads."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
from collections.abc import Sequence
from typing import Final

from dlibos_node.errors import DeviceError
from dlibos_node.nic.device import DeviceStatistics
from dlibos_node.nic.virtio import HEADER_LENGTH
from dlibos_node.wire.buffer import Buffer

# linux/if_tun.h
TUNGETIFF: Final = 0x800454D2
TUNSETOFFLOAD: Final = 0x400454D0
TUNSETVNETHDRSZ: Final = 0x400454D8
TUNSETVNETLE: Final = 0x400454DC
TUNSETQUEUE: Final = 0x400454D9
IFF_TAP: Final = 0x0002
IFF_ATTACH_QUEUE: Final = 0x0200
IFF_DETACH_QUEUE: Final = 0x0400
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000
_QUEUE: Final = struct.Struct("16sH22x")  # struct ifreq: a name, which does not matter here, and flags
_REQUIRED: Final = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR

# TUN_F_*: offloads by falling rank; each needs those before it, so a refusal takes away from the end.
_OFFLOADS: Final = (("csum", 0x01), ("tso4", 0x02), ("tso6", 0x04), ("tso_ecn", 0x08))


class Tap:
    """A `Device` over the descriptor of a multi-queue TAP queue (IFF_TAP, IFF_NO_PI, IFF_VNET_HDR), which it owns.

    Raises DeviceError when `descriptor` is not such a queue; the descriptor is closed then. `offloads` are what the
    kernel granted for received frames; in transmitted frames the kernel accepts all of them anyway. They belong to
    the interface, not to the queue: the last queue that was opened decides for all.

    A detached queue is given no frames; flows are spread over those that are attached, and a flow follows the queue
    that the mesh's own frames of it come from. So a queue whose work others have taken over has little to lose. What
    is lost is another's: the kernel moves the last attached queue into the gap that a detached one leaves, and drops
    its frames for as long as that takes (`__tun_detach`, synchronize_net): microseconds, or some milliseconds on a busy
    machine. The queue that was attached last leaves no gap.
    """

    __slots__ = ("_attached", "_fd", "mtu", "name", "offloads", "statistics")

    def __init__(self, descriptor: int, mtu: int) -> None:
        self._fd = descriptor
        self.mtu = mtu
        self.statistics = DeviceStatistics()
        try:
            self.name, self._attached = _interface(descriptor)
            fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, struct.pack("i", HEADER_LENGTH))
            fcntl.ioctl(descriptor, TUNSETVNETLE, struct.pack("i", 1))
            os.set_blocking(descriptor, False)
        except OSError as error:
            self.close()
            raise DeviceError(f"descriptor is not a usable TAP queue ({error}); open it with `dlibos up`") from error
        except DeviceError:
            self.close()
            raise
        self.offloads: tuple[str, ...] = _negotiate(descriptor)

    def fileno(self) -> int:
        """Return the queue's descriptor."""
        return self._fd

    def receive(self, buffers: Sequence[memoryview]) -> int:
        """Read one frame (see Device)."""
        try:
            count = os.readv(self._fd, buffers)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._failed(error)
            return 0
        statistics = self.statistics
        statistics.rx_frames += 1
        statistics.rx_bytes += count - HEADER_LENGTH
        return count

    def transmit(self, parts: Sequence[Buffer]) -> bool:
        """Write one frame (see Device)."""
        try:
            count = os.writev(self._fd, parts)
        except OSError as error:
            self._failed(error)
            return False
        statistics = self.statistics
        statistics.tx_frames += 1
        statistics.tx_bytes += count - HEADER_LENGTH
        return True

    def attach(self) -> None:
        """Enter the queue among those that frames are spread over (see Device)."""
        if not self._attached:
            self._set_queue(IFF_ATTACH_QUEUE)
            self._attached = True

    def quiesce(self) -> None:
        """A kernel's connections use any queue."""

    @property
    def idle(self) -> bool:
        """Always."""
        return True

    def detach(self) -> None:
        """Take the queue out; frames that wait in it are lost (see Device)."""
        if self._attached and self._fd >= 0 and not self.statistics.gone:
            self._set_queue(IFF_DETACH_QUEUE)
        self._attached = False

    def _set_queue(self, flag: int) -> None:
        try:
            fcntl.ioctl(self._fd, TUNSETQUEUE, _QUEUE.pack(b"", flag))
        except (OSError, ValueError) as error:  # a ValueError: it is closed
            what = "attach" if flag == IFF_ATTACH_QUEUE else "detach"
            raise DeviceError(f"cannot {what} a queue of {self.name}: {error}; see `dlibos doctor`") from error

    def close(self) -> None:
        """Close the queue; its share of the traffic moves to the other queues."""
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _failed(self, error: OSError) -> None:
        if error.errno == errno.EBADFD and not self._attached:
            return  # kernels differ in whether a detached queue is empty or in a bad state
        self.statistics.failed(error)
        if error.errno == errno.EBADFD:
            _silence(self._fd)


def _silence(descriptor: int) -> None:
    """Put something that is never readable in the place of a queue that lost its interface.

    Such a queue is reported readable for ever, and would keep its tile busy with nothing. An empty epoll set is never
    readable, and reading or writing it fails.
    """
    with select.epoll() as nothing:
        os.dup2(nothing.fileno(), descriptor, inheritable=False)


def _interface(descriptor: int) -> tuple[str, bool]:
    """Return the name of the interface behind `descriptor`, and whether this queue is attached to it.

    DeviceError if it lacks the flags this class relies on.
    """
    answer = fcntl.ioctl(descriptor, TUNGETIFF, bytes(40))
    raw_name, flags = struct.unpack_from("16sH", answer)
    name = str(raw_name.rstrip(b"\0").decode())
    if flags & _REQUIRED != _REQUIRED:
        raise DeviceError(
            f"{name} has flags {flags:#06x}; open it with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR ({_REQUIRED:#06x})"
        )
    return name, not flags & IFF_DETACH_QUEUE


def _negotiate(descriptor: int) -> tuple[str, ...]:
    """Ask for all offloads, then for fewer, until the kernel agrees; return the names of those granted."""
    for count in range(len(_OFFLOADS), 0, -1):
        wanted = _OFFLOADS[:count]
        try:
            fcntl.ioctl(descriptor, TUNSETOFFLOAD, sum(bit for _, bit in wanted))
        except OSError:
            continue
        return tuple(name for name, _ in wanted)
    return ()
