"""The assembler: what it writes is what the kernel's own structures say, and jumps land where their labels are."""

from __future__ import annotations

import pytest

from dlibos_node.hardening.bpf import ARCHITECTURE, EQUAL, GREATER, NUMBER, SET, Assembler, argument
from tests.hardening.machine import run


def test_instructions_are_struct_sock_filter() -> None:
    program = Assembler()
    program.load(NUMBER)
    program.jump(EQUAL, 0x01020304, then="end")
    program.answer(5)
    program.label("end")
    program.answer(0x7FFF0000)
    assert program.assemble() == bytes.fromhex(
        "2000 00 00 00000000"  # ld [0]
        "1500 01 00 04030201"  # jeq #0x1020304, 1, 0
        "0600 00 00 05000000"  # ret #5
        "0600 00 00 0000ff7f"
    )


@pytest.mark.parametrize(
    ("test", "value", "word", "holds"),
    [
        (EQUAL, 7, 7, True),
        (EQUAL, 7, 8, False),
        (GREATER, 7, 7, False),
        (GREATER, 7, 8, True),
        (GREATER, 7, 0xFFFFFFFF, True),  # unsigned
        (SET, 0b110, 0b010, True),
        (SET, 0b110, 0b001, False),
    ],
)
def test_comparisons(test: int, value: int, word: int, holds: bool) -> None:
    program = Assembler()
    program.load(argument(2))
    program.jump(test, value, then="yes", otherwise="no")
    program.answer(99)
    program.label("no")
    program.answer(0)
    program.label("yes")
    program.answer(1)
    assert run(program.assemble(), 0, 0, (0, 0, word)) == holds


def test_only_the_low_half_of_an_argument_counts() -> None:
    program = Assembler()
    program.load(argument(5))
    program.jump(EQUAL, 3, otherwise="no")
    program.answer(1)
    program.label("no")
    program.answer(0)
    assert run(program.assemble(), 0, 0, (0, 0, 0, 0, 0, 1 << 32 | 3)) == 1


def test_the_architecture_is_the_second_word() -> None:
    program = Assembler()
    program.load(ARCHITECTURE)
    program.jump(EQUAL, 0xC000003E, otherwise="no")
    program.answer(1)
    program.label("no")
    program.answer(0)
    assert [run(program.assemble(), 0xC000003E, arch) for arch in (0xC000003E, 0x40000003)] == [1, 0]


def test_a_jump_too_far_or_back_is_refused() -> None:
    program = Assembler()
    program.label("start")
    program.jump(EQUAL, 0, then="end")
    for _ in range(256):
        program.load(NUMBER)
    program.label("end")
    program.answer(0)
    with pytest.raises(ValueError, match="instruction 0 jumps 256 to 'end'; the most is 255"):
        program.assemble()
    back = Assembler()
    back.label("start")
    back.jump(EQUAL, 0, then="start")
    with pytest.raises(ValueError, match="jumps -1"):
        back.assemble()


def test_a_label_that_stands_nowhere_is_refused() -> None:
    program = Assembler()
    program.jump(EQUAL, 0, then="nowhere")
    with pytest.raises(KeyError):
        program.assemble()
