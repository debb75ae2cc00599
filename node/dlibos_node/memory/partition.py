"""A partition: memory that exactly one tile writes. A memfd, mapped writable by its owner, read-only by its readers.

Sealed, it can be written through the owner's first mapping and in no other way, by nobody: not by a new mapping, not by
its descriptor, not by one opened anew through /proc (F_SEAL_FUTURE_WRITE, memfd_create(2)). Its size never changes,
so that no reader faults on a mapping that shrank, and no seal can be added, so that no reader can stop the owner.
In the unprotected mode nothing is sealed and readers map it writable.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from typing import Final

from dlibos_node.errors import PartitionError
from dlibos_node.memory.descriptor import LOW32
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.layout import Layout, layout_of

# linux/fcntl.h
F_ADD_SEALS: Final = 1033
F_GET_SEALS: Final = 1034
F_SEAL_SEAL: Final = 0x1
F_SEAL_SHRINK: Final = 0x2
F_SEAL_GROW: Final = 0x4
F_SEAL_FUTURE_WRITE: Final = 0x10
OWNER_WRITES: Final = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL


class Partition:
    """A mapped partition: `view` is writable in the owner, read-only elsewhere, and has no seams (layout.py).

    `generations` holds the current generation of every buffer; `epoch` is the first one of an owner's buffers, drawn at
    its start, so that what an earlier process of the same tile lent is not taken for its own. With `leases` the owner
    publishes the generations, and takes a buffer back only from whom it was lent to.
    """

    __slots__ = (
        "_first_end", "_first_size", "_map", "epoch", "fd", "generations", "layout", "leases", "number", "protected",
        "view",
    )  # fmt: skip

    def __init__(self, number: int, fd: int, protection: int, *, protected: bool, leases: bool) -> None:
        layout: Layout = layout_of(number)
        self.number = number
        self.fd = fd
        self.protected = protected
        self.leases = leases
        self.layout = layout
        self._first_size = layout.pools[0].size
        self._first_end = layout.pools[0].end
        self.epoch = secrets.randbelow(1 << 16)
        self._map = mmap.mmap(fd, layout.size, mmap.MAP_SHARED, protection)
        self.view = memoryview(self._map)
        self.generations: memoryview = self.view[layout.payload : layout.payload + 2 * layout.slots].cast("H")

    @classmethod
    def create(cls, number: int, *, protected: bool = True, leases: bool | None = None) -> Partition:
        """Make a partition this tile owns; pages cost memory only once they are touched.

        `leases` is as `protected` unless their costs are to be told apart (cost.chip).
        """
        fd = os.memfd_create(f"dlibos-{number}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, layout_of(number).size)
        leases = protected if leases is None else leases
        made = cls(number, fd, mmap.PROT_READ | mmap.PROT_WRITE, protected=protected, leases=leases)
        if protected:
            fcntl.fcntl(fd, F_ADD_SEALS, OWNER_WRITES)
        return made

    @classmethod
    def attach(cls, number: int, fd: int, *, protected: bool = True) -> Partition:
        """Map another tile's partition; takes over `fd`.

        Raises PartitionError when it is not what it was said to be: an owner that could write, shrink or grow it behind
        its readers' backs is not believed.
        """
        try:
            check_memory(number, fd, OWNER_WRITES if protected else 0)
            access = mmap.PROT_READ if protected else mmap.PROT_READ | mmap.PROT_WRITE
            return cls(number, fd, access, protected=protected, leases=protected)
        except PartitionError:
            os.close(fd)
            raise
        except OSError as error:
            os.close(fd)
            raise PartitionError(f"partition {number} cannot be mapped: {error}: are all tiles in one mode?") from error

    def check(self, place: int, lease: int) -> Fault | None:
        """Return why the descriptor of these two words is not to be followed, None if it may be."""
        offset, size = place >> 32, self._first_size
        slot = offset // size
        if offset >= self._first_end:
            slot = self.layout.slot(offset, place & LOW32)
            if slot < 0:
                return Fault.BOUNDS
        elif offset + (place & LOW32) > (slot + 1) * size:  # most are in the first pool, which begins at 0
            return Fault.BOUNDS
        generation: int = self.generations[slot]
        return None if lease >> 32 & 0xFFFF == generation else Fault.GENERATION

    def close(self) -> None:
        """Unmap; views handed out keep the mapping alive until they go."""
        self.generations.release()
        self.view.release()
        try:
            self._map.close()
        except BufferError:  # a slice of the view is still held; the mapping goes with it
            pass
        finally:
            os.close(self.fd)


def check_memory(number: int, fd: int, seals: int) -> None:
    """Raise PartitionError unless `fd` is memory of the partition's size that carries all of `seals`."""
    size, expected = os.fstat(fd).st_size, layout_of(number).size
    if size != expected:
        raise PartitionError(f"partition {number} has {size} bytes instead of {expected}: restart the mesh")
    try:
        present = fcntl.fcntl(fd, F_GET_SEALS)
    except OSError:
        present = 0
    if present & seals != seals:
        raise PartitionError(
            f"partition {number} lacks seals ({present:#x}, needs {seals:#x}): its owner is not trusted"
        )
