"""System calls that attackers need and Python has no function for, by ctypes. All raise OSError."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

PTRACE_ATTACH: Final = 16  # sys/ptrace.h
PTRACE_DETACH: Final = 17
PIDFD_GETFD: Final = 438  # the same number on all architectures
FALLOC_FL_KEEP_SIZE: Final = 1  # linux/falloc.h
FALLOC_FL_PUNCH_HOLE: Final = 2

_libc: Final = ctypes.CDLL(None, use_errno=True)
for _name in ("mmap", "read", "ptrace", "process_vm_readv", "process_vm_writev", "syscall"):
    getattr(_libc, _name).restype = ctypes.c_ssize_t


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Buffer(ctypes.Structure):
    """Py_buffer of CPython's C interface."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("owner", ctypes.py_object),
        ("length", ctypes.c_ssize_t),
        ("rest", ctypes.c_byte * 64),
    )


def address_of(view: memoryview) -> int:
    """Return where the bytes of a view, writable or not, lie in this process."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0)
    try:
        return int(buffer.address or 0)
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))


def read_to(descriptor: int, address: int, length: int) -> int:
    """Let the kernel write into this process at `address`: EFAULT, and no signal, where it is not writable."""
    return _checked(_libc.read(descriptor, ctypes.c_void_p(address), ctypes.c_size_t(length)))


def mprotect(address: int, length: int, protection: int) -> int:
    """Call mprotect(2)."""
    return _checked(_libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(length), protection))


def punch_hole(descriptor: int, offset: int, length: int) -> int:
    """Call fallocate(2) to take pages out of a file."""
    mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    return _checked(_libc.fallocate(descriptor, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length)))


def ptrace(request: int, pid: int) -> int:
    """Call ptrace(2)."""
    return _checked(_libc.ptrace(request, pid, None, None))


def process_vm_readv(pid: int, address: int, length: int) -> bytes:
    """Return bytes of another process's memory."""
    local = ctypes.create_string_buffer(length)
    count = _transfer(_libc.process_vm_readv, pid, ctypes.addressof(local), address, length)
    return local.raw[:count]


def process_vm_writev(pid: int, address: int, data: bytes) -> int:
    """Write into another process's memory."""
    local = ctypes.create_string_buffer(data, len(data))
    return _transfer(_libc.process_vm_writev, pid, ctypes.addressof(local), address, len(data))


def pidfd_getfd(pidfd: int, descriptor: int) -> int:
    """Return a copy of another process's descriptor."""
    return _checked(_libc.syscall(ctypes.c_long(PIDFD_GETFD), pidfd, descriptor, 0))


def _transfer(call: Any, pid: int, here: int, there: int, length: int) -> int:
    local, remote = _Iovec(here, length), _Iovec(there, length)
    one = ctypes.c_ulong(1)
    return _checked(call(pid, ctypes.byref(local), one, ctypes.byref(remote), one, ctypes.c_ulong(0)))


def _checked(answer: int) -> int:
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
