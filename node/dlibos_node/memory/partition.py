"""A partition: memory that exactly one tile writes. A memfd, mapped writable by its owner, read-only by its readers.

The size is sealed, so that a reader never faults on a mapping that shrank. The seal that keeps everybody else, the
owner's own later mappings included, from writing (F_SEAL_FUTURE_WRITE) belongs to the protected mode.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

from dlibos_node.errors import PartitionError

F_ADD_SEALS: Final = 1033  # linux/fcntl.h
F_SEAL_SHRINK: Final = 0x2
F_SEAL_GROW: Final = 0x4


class Partition:
    """A mapped partition: `view` is writable in the owner, read-only elsewhere."""

    __slots__ = ("_map", "fd", "number", "size", "view")

    def __init__(self, number: int, fd: int, size: int, protection: int) -> None:
        self.number = number
        self.fd = fd
        self.size = size
        self._map = mmap.mmap(fd, size, mmap.MAP_SHARED, protection)
        self.view = memoryview(self._map)

    @classmethod
    def create(cls, number: int, size: int) -> Partition:
        """Make a partition this tile owns; pages cost memory only once they are touched."""
        fd = os.memfd_create(f"dlibos-{number}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)
        return cls(number, fd, size, mmap.PROT_READ | mmap.PROT_WRITE)

    @classmethod
    def attach(cls, number: int, fd: int, size: int) -> Partition:
        """Map another tile's partition for reading; takes over `fd`.

        Raises PartitionError when the descriptor is smaller than it was said to be.
        """
        actual = os.fstat(fd).st_size
        if actual < size:
            os.close(fd)
            raise PartitionError(f"partition {number} has {actual} bytes, {size} were promised: restart the mesh")
        return cls(number, fd, size, mmap.PROT_READ)

    def close(self) -> None:
        """Unmap; views handed out keep the mapping alive until they go."""
        self.view.release()
        try:
            self._map.close()
        except BufferError:  # a slice of the view is still held; the mapping goes with it
            pass
        finally:
            os.close(self.fd)
