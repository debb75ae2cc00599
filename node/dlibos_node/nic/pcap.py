"""Write every frame that passes a device into a capture file that Wireshark and tcpdump read.

The format is libpcap's with nanosecond time stamps (draft-ietf-opsawg-pcap, magic 0xA1B23C4D), link type Ethernet.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from dlibos_node.errors import DeviceError
from dlibos_node.nic.device import Device
from dlibos_node.nic.virtio import HEADER_LENGTH
from dlibos_node.nic.wrapper import Wrapper
from dlibos_node.wire.buffer import Buffer

_FILE_HEADER: Final = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
_RECORD: Final = struct.Struct("<IIII")
_BUFFER: Final = 1 << 16  # bytes held back at most
_SECOND: Final = 1_000_000_000  # in nanoseconds


class Pcap(Wrapper):
    """A `Device` around another that records both directions, in wall-clock time, without the virtio header.

    Frames are recorded as they pass: a segment that the device will cut is one long frame, and one whose checksum the
    device will complete shows the partial checksum, as in any capture on a host with offloads. Frames the device
    refused are not recorded. What is buffered is written whenever `receive` finds nothing waiting, and by `close`.
    When the file cannot be written any more (disk full), capturing ends, the device goes on, and `lost` counts.
    """

    __slots__ = ("_dirty", "_file", "lost")

    def __init__(self, device: Device, path: str) -> None:
        super().__init__(device)
        self.lost = 0  # frames that passed but could not be recorded
        self._dirty = True
        try:
            self._file: Final[BinaryIO] = Path(path).open("wb", buffering=_BUFFER)  # noqa: SIM115 - closed in close()
        except OSError as error:
            reason = error.strerror or str(error)
            raise DeviceError(f"cannot capture to {path}: {reason}; name a directory you can write to") from error
        self._file.write(_FILE_HEADER)
        self.flush()

    def fileno(self) -> int:
        """Return the wrapped device's descriptor."""
        return self._device.fileno()

    def receive(self, buffers: Sequence[memoryview]) -> int:
        """Pass one frame up and record it (see Device)."""
        count = self._device.receive(buffers)
        if count:
            self._record(buffers, count)
        elif self._dirty:
            self.flush()
        return count

    def transmit(self, parts: Sequence[Buffer]) -> bool:
        """Pass one frame down and record it if it was taken (see Device)."""
        taken = self._device.transmit(parts)
        if taken:
            self._record(parts, sum(map(len, parts)))
        return taken

    def flush(self) -> None:
        """Write out what is buffered."""
        self._dirty = False
        try:
            self._file.flush()
        except (OSError, ValueError):
            self._give_up()

    def close(self) -> None:
        """Write out what is buffered and close both the file and the device."""
        self._give_up()
        self._device.close()

    def _record(self, parts: Sequence[Buffer], count: int) -> None:
        """Append the first `count` bytes of `parts`, less the virtio header, as one record."""
        seconds, nanoseconds = divmod(time.time_ns(), _SECOND)
        first = parts[0]  # of a received frame the parts have more room than it has bytes: join them only if need be
        frame = memoryview(first if count <= len(first) else b"".join(parts))[HEADER_LENGTH:count]
        try:
            self._file.write(_RECORD.pack(seconds, nanoseconds, len(frame), len(frame)))
            self._file.write(frame)
        except (OSError, ValueError):
            self.lost += 1
            self._give_up()
        self._dirty = True

    def _give_up(self) -> None:
        """Close the file, whatever can still be written of it."""
        with contextlib.suppress(OSError):
            self._file.close()
