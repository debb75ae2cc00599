"""System calls that Python has no function for, by ctypes. All raise OSError with the kernel's error number."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def prctl(option: int, *arguments: int) -> int:
    """Call prctl(2); arguments that are left out are 0, as many options demand."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _checked("prctl", _libc.prctl(option, *map(ctypes.c_ulong, padded)))


def capset(header: bytes, data: bytes) -> None:
    """Call capset(2) with its two structures."""
    _checked("capset", _libc.capset(header, data))


def syscall(name: str, number: int, *arguments: Any) -> int:
    """Call syscall(2); `name` is for the error's text. Integers go as 64 bits, bytes and ctypes objects by address."""
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _checked(name, int(_libc.syscall(ctypes.c_long(number), *words)))


def _checked(what: str, answer: int) -> int:
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return answer
