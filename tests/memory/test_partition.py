"""Partitions: the owner's writes are seen by readers, and by the kernel's word nobody else can write."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator

import pytest

from dlibos_node.errors import PartitionError
from dlibos_node.memory import descriptor, layout, partition
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.partition import Partition

NUMBER = descriptor.partition_number(1, descriptor.TX_INDEX)
SIZE = layout.TX.size
libc = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE = 0x3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


@pytest.fixture
def owned() -> Iterator[Partition]:
    made = Partition.create(NUMBER)
    yield made
    made.close()


@pytest.fixture
def mapped(owned: Partition) -> Iterator[Partition]:
    read = Partition.attach(NUMBER, os.dup(owned.fd))
    yield read
    read.close()


def test_a_number_carries_its_owner() -> None:
    assert descriptor.owner(descriptor.partition_number(35, descriptor.APP_INDEX)) == 35


def test_words_hold_their_fields() -> None:
    assert descriptor.place(3, 4) == 3 << 32 | 4
    assert descriptor.lease(7, 9) == 7 << 48 | 9 << 32


def test_a_reader_sees_what_the_owner_writes_and_cannot_write(owned: Partition, mapped: Partition) -> None:
    owned.view[100:105] = b"hello"
    assert bytes(mapped.view[100:105]) == b"hello"
    with pytest.raises(TypeError):
        mapped.view[0] = 1


def checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def map_writable(fd: int) -> None:
    mmap.mmap(fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def make_writable(fd: int) -> None:
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, ctypes.c_size_t(SIZE), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
    try:
        checked(libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(SIZE), mmap.PROT_READ | mmap.PROT_WRITE))
    finally:
        libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(SIZE))


def write_memory_file(fd: int) -> None:
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, ctypes.c_size_t(SIZE), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
    memory = os.open("/proc/self/mem", os.O_RDWR)
    try:
        os.pwrite(memory, b"x", at)
    finally:
        os.close(memory)
        libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(SIZE))


def write_anew(fd: int) -> None:
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    try:
        os.pwrite(again, b"x", 0)
    finally:
        os.close(again)


ATTEMPTS: dict[str, Callable[[int], object]] = {
    "a writable mapping": map_writable,
    "mprotect": make_writable,
    "pwrite": lambda fd: os.pwrite(fd, b"x", 0),
    "a descriptor opened anew": write_anew,
    "the process's memory file": write_memory_file,
    "a hole": lambda fd: checked(libc.fallocate(fd, PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(4096))),
    "shrinking": lambda fd: os.ftruncate(fd, 0),
    "growing": lambda fd: os.ftruncate(fd, SIZE * 2),
    "another seal": lambda fd: fcntl.fcntl(fd, partition.F_ADD_SEALS, 0x8),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_way_of_writing_is_open_not_even_with_the_owner_s_descriptor(owned: Partition, attempt: str) -> None:
    owned.view[:5] = b"whole"
    with pytest.raises(OSError, match=r"Operation not permitted|Permission denied|Input/output error"):
        ATTEMPTS[attempt](owned.fd)
    assert bytes(owned.view[:5]) == b"whole"
    owned.view[:5] = b"still"  # the owner's own mapping goes on
    assert os.pread(owned.fd, 5, 0) == b"still"


def test_without_protection_any_reader_writes() -> None:
    owned = Partition.create(NUMBER, protected=False)
    read = Partition.attach(NUMBER, os.dup(owned.fd), protected=False)
    read.view[:3] = b"bad"
    assert bytes(owned.view[:3]) == b"bad"
    os.ftruncate(read.fd, SIZE - mmap.PAGESIZE)
    assert os.fstat(owned.fd).st_size == SIZE - mmap.PAGESIZE


def test_memory_of_another_size_is_refused() -> None:
    fd = os.memfd_create("forged", os.MFD_CLOEXEC)
    with pytest.raises(PartitionError, match=f"has 0 bytes instead of {SIZE}"):
        Partition.attach(NUMBER, fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_memory_that_its_owner_could_still_shrink_is_refused() -> None:
    owned = Partition.create(NUMBER, protected=False)
    with pytest.raises(PartitionError, match="lacks seals"):
        Partition.attach(NUMBER, os.dup(owned.fd))
    fd = os.memfd_create("forged", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE)
    with pytest.raises(PartitionError, match="lacks seals"):
        Partition.attach(NUMBER, fd)


def test_closing_with_a_slice_still_held_is_allowed() -> None:
    owned = Partition.create(NUMBER)
    held = owned.view[10:20]
    owned.close()
    held[0] = 1
    assert held[0] == 1


def test_a_span_must_lie_in_one_buffer() -> None:
    owned = Partition.create(NUMBER)
    current = owned.generations[0] << 32
    header, frame = layout.TX.pools
    assert owned.check(descriptor.place(0, header.size), current) is None
    assert owned.check(descriptor.place(1, header.size), current) is Fault.BOUNDS
    assert owned.check(descriptor.place(frame.end - 1, 2), current) is Fault.BOUNDS
    assert owned.check(descriptor.place(frame.end, 1), current) is Fault.BOUNDS
    assert owned.check(descriptor.place(0, 1), current ^ 1 << 32) is Fault.GENERATION
