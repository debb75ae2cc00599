"""Classic BPF as the kernel runs it for seccomp: what a filter answers to a system call, without making it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from dlibos_node.hardening import bpf

INSTRUCTION = struct.Struct("=HBBI")
TESTS: dict[int, Callable[[int, int], bool]] = {
    bpf.EQUAL: lambda word, value: word == value,
    bpf.GREATER: lambda word, value: word > value,
    bpf.SET: lambda word, value: bool(word & value),
}


def run(program: bytes, number: int, architecture: int, arguments: Sequence[int] = ()) -> int:
    """Return the program's answer. ValueError for an instruction that is none of ours, or one past the end."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    place, word = 0, 0
    while place * INSTRUCTION.size < len(program):
        code, then, otherwise, value = INSTRUCTION.unpack_from(program, place * INSTRUCTION.size)
        place += 1
        if code == bpf.RETURN:
            return int(value)
        if code == bpf.LOAD:
            (word,) = struct.unpack_from("=I", data, value)
        elif code in TESTS:
            place += then if TESTS[code](word, value) else otherwise
        else:
            raise ValueError(f"instruction {place - 1} has code {code:#x}")
    raise ValueError(f"the program ran past its end, {place} instructions")
