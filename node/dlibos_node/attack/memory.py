"""Attacks on memory that a tile maps but does not own: each tries to change bytes in another way.

The bytes lie in the last buffer of the partition's last pool, which no honest tile comes to use: where an attack gets
through, what it shows is that the bytes changed, read back by the descriptor, and nobody is served the worse for it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from dlibos_node.attack import kernel
from dlibos_node.attack.answer import OK, Answer, Order, Step, attempt
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.memory.descriptor import APP_INDEX, TX_INDEX, partition_number
from dlibos_node.memory.partition import F_ADD_SEALS, Partition

F_SEAL_WRITE: Final = 0x8  # linux/fcntl.h
LENGTH: Final = 16  # bytes that are to change
SECRET: Final = 32  # hexadecimal digits behind the canary's beginning


class Target(NamedTuple):
    """A partition, the offset that is attacked (of a page), its address here, and the bytes to write there."""

    partition: Partition
    offset: int
    address: int
    marker: bytes

    @classmethod
    def in_partition(cls, partition: Partition) -> Target:
        """Take aim at the last page of the last buffer."""
        offset = partition.layout.payload // mmap.PAGESIZE * mmap.PAGESIZE - mmap.PAGESIZE
        address = kernel.address_of(partition.view) + offset
        return cls(partition, offset, address, secrets.token_bytes(LENGTH))

    def now(self) -> bytes:
        """Return the bytes as they are."""
        return os.pread(self.partition.fd, LENGTH, self.offset)


def write(target: Target) -> list[Step]:
    """Write through the mapping."""
    reader, writer = os.pipe()
    try:
        os.write(writer, target.marker)
        return [attempt("write", lambda: kernel.read_to(reader, target.address, LENGTH))[0]]
    finally:
        os.close(reader)
        os.close(writer)


def map_writable(target: Target) -> list[Step]:
    """Map it once more, writable."""
    step, mapping = attempt("mmap", lambda: mmap.mmap(target.partition.fd, mmap.PAGESIZE, offset=target.offset))
    if mapping is not None:
        mapping[:LENGTH] = target.marker
        mapping.close()
    return [step]


def mprotect(target: Target) -> list[Step]:
    """Make the mapping writable, write through it, and leave it as it was."""
    whole = mmap.PROT_READ | mmap.PROT_WRITE
    step, done = attempt("mprotect", lambda: kernel.mprotect(target.address, mmap.PAGESIZE, whole))
    return [step] if done is None else [step, *write(target)]


def reopen(target: Target) -> list[Step]:
    """Open the memory anew by /proc, for writing, and write."""
    step, descriptor = attempt("open /proc/self/fd", lambda: os.open(f"/proc/self/fd/{target.partition.fd}", os.O_RDWR))
    if descriptor is None:
        return [step]
    try:
        return [step, attempt("pwrite", lambda: os.pwrite(descriptor, target.marker, target.offset))[0]]
    finally:
        os.close(descriptor)


def pwrite(target: Target) -> list[Step]:
    """Write by the descriptor that was handed over."""
    return [attempt("pwrite", lambda: os.pwrite(target.partition.fd, target.marker, target.offset))[0]]


def own_mem(target: Target) -> list[Step]:
    """Write to this process's own memory by /proc, which does not look at a mapping's protection."""
    step, descriptor = attempt("open /proc/self/mem", lambda: os.open("/proc/self/mem", os.O_RDWR))
    if descriptor is None:
        return [step]
    try:
        return [step, attempt("pwrite", lambda: os.pwrite(descriptor, target.marker, target.address))[0]]
    finally:
        os.close(descriptor)


def truncate(target: Target) -> list[Step]:
    """Cut the last page off under its users; where that works, an empty one takes its place, or they would die."""
    descriptor, size = target.partition.fd, target.partition.layout.size
    step, _ = attempt("ftruncate", lambda: os.ftruncate(descriptor, size - mmap.PAGESIZE))
    if step.result == OK:
        os.ftruncate(descriptor, size)
    return [step]


def punch_hole(target: Target) -> list[Step]:
    """Take the page out; where the mapping can be written, something is put there first."""
    write(target)
    return [attempt("fallocate", lambda: kernel.punch_hole(target.partition.fd, target.offset, mmap.PAGESIZE))[0]]


def seal(target: Target) -> list[Step]:
    """Add a seal that would keep the owner from writing."""
    return [attempt("F_ADD_SEALS", lambda: fcntl.fcntl(target.partition.fd, F_ADD_SEALS, F_SEAL_WRITE))[0]]


TECHNIQUES: Final[dict[str, Callable[[Target], list[Step]]]] = {
    "write": write,
    "map": map_writable,
    "mprotect": mprotect,
    "reopen": reopen,
    "pwrite": pwrite,
    "own-mem": own_mem,
    "truncate": truncate,
    "punch": punch_hole,
    "seal": seal,
}
REGIONS: Final = {"app": ("rx",), "stack": ("rx", "app"), "driver": ("tx", "app")}
"""What a role maps of others."""


def partition_of_victim(tile: CompromisedTile, region: str) -> Partition:
    """Return the honest tile's partition that this one maps; LookupError where it maps none."""
    if region == "rx":
        return tile.mapped[partition_number(tile.victim("driver").tile, tile.tile.domain or 1)]
    role, index = {"tx": ("stack", TX_INDEX), "app": ("app", APP_INDEX)}[region]
    return tile.mapped[partition_number(tile.victim(role).tile, index)]


def strike(partition: Partition, technique: Callable[[Target], list[Step]]) -> tuple[list[Step], bool]:
    """Use a technique on a partition; return the steps, and whether its bytes are not what they were."""
    target = Target.in_partition(partition)
    before = target.now()
    steps = technique(target)
    wiped = technique in {punch_hole, truncate} and steps[-1].result == OK
    return steps, wiped or target.now() != before


def attacks(role: str) -> dict[str, Callable[[CompromisedTile, Order], Answer]]:
    """Return the attacks of a role on what it maps, by name."""
    return {
        f"{role}-{region}-{name}": _attack(region, technique)
        for region in REGIONS[role]
        for name, technique in TECHNIQUES.items()
    }


def _attack(region: str, technique: Callable[[Target], list[Step]]) -> Callable[[CompromisedTile, Order], Answer]:
    def perform(tile: CompromisedTile, order: Order) -> Answer:
        del order
        partition = partition_of_victim(tile, region)
        steps, changed = strike(partition, technique)
        return Answer(tuple(steps), changed, f"partition {partition.number}")

    return perform


# --- reading ----------------------------------------------------------------------------------------------------


def chunks(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of what was ever written to a partition; to read its holes would fill them."""
    at, end = 0, os.fstat(descriptor).st_size
    while at < end:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: no more data
            return
        upto = os.lseek(descriptor, at, os.SEEK_HOLE)
        yield at, os.pread(descriptor, upto - at, at)
        at = upto


def secrets_in(data: bytes, canary: bytes) -> set[str]:
    """Return the secrets that lie in some bytes."""
    return {found.decode() for found in re.findall(re.escape(canary) + rb"[0-9a-f]{%d}" % SECRET, data)}


def search(partitions: list[Partition], canary: bytes) -> tuple[set[str], int]:
    """Return the secrets in some partitions, and how many bytes were looked through."""
    found: set[str] = set()
    total = 0
    for partition in partitions:
        for _, data in chunks(partition.fd):
            found |= secrets_in(data, canary)
            total += len(data)
    return found, total
