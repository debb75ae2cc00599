"""A small assembler for classic BPF as seccomp runs it: load a word, compare, jump forward, return.

    struct sock_filter (linux/filter.h), 8 bytes      struct seccomp_data (linux/seccomp.h)
    +-------+----+----+---------------+               +----+------+---------+---------+-- ... --+
    | code  | jt | jf |       k       |               | nr | arch |   ip    | args[0] | args[5] |
    +-------+----+----+---------------+               +----+------+---------+---------+-- ... --+
       16     8    8         32                         32    32      64        64        64

Jumps name labels that stand further on; their distance is at most 255 instructions.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

NUMBER: Final = 0  # offsets in struct seccomp_data
ARCHITECTURE: Final = 4

# linux/bpf_common.h
LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
RETURN: Final = 0x06  # BPF_RET | BPF_K
EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K, unsigned as the next
GREATER: Final = 0x25
SET: Final = 0x45  # any bit of k

FARTHEST: Final = 255
_INSTRUCTION: Final = struct.Struct("=HBBI")


def argument(index: int) -> int:
    """Return the offset of the low 32 bits of a call's argument, on little-endian machines."""
    return 16 + 8 * index


class _Line(NamedTuple):
    code: int
    value: int
    then: str = ""
    otherwise: str = ""


class Assembler:
    """Collects instructions; `assemble` resolves the labels. An empty label is the next instruction."""

    def __init__(self) -> None:
        self._lines: Final[list[_Line]] = []
        self._labels: Final[dict[str, int]] = {}

    def label(self, name: str) -> None:
        """Name the next instruction."""
        self._labels[name] = len(self._lines)

    def load(self, offset: int) -> None:
        """Load the 32-bit word at `offset` of struct seccomp_data."""
        self._lines.append(_Line(LOAD, offset))

    def jump(self, test: int, value: int, then: str = "", otherwise: str = "") -> None:
        """Compare the loaded word with `value` by EQUAL, GREATER or SET."""
        self._lines.append(_Line(test, value, then, otherwise))

    def answer(self, value: int) -> None:
        """End with `value`, one of SECCOMP_RET_*."""
        self._lines.append(_Line(RETURN, value))

    def assemble(self) -> bytes:
        """Return the program. Raises ValueError for a jump too far, KeyError for a label that stands nowhere."""
        return b"".join(self._encode(place, line) for place, line in enumerate(self._lines))

    def _encode(self, place: int, line: _Line) -> bytes:
        then, otherwise = (self._distance(place, label) for label in (line.then, line.otherwise))
        return _INSTRUCTION.pack(line.code, then, otherwise, line.value)

    def _distance(self, place: int, label: str) -> int:
        distance = self._labels[label] - place - 1 if label else 0
        if not 0 <= distance <= FARTHEST:
            raise ValueError(f"BPF instruction {place} jumps {distance} to {label!r}; the most is {FARTHEST}")
        return distance
