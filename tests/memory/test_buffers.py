"""Buffers: a lease ends once, by its holder, with the right generation."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from dlibos_node.memory.buffers import GENERATIONS, Buffers
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.layout import Pool
from dlibos_node.memory.partition import Partition

NUMBER, BASE, SIZE, COUNT = 0x81, 16384, 2048, 4


PARTITION = Partition.create(NUMBER)
FIRST = BASE // SIZE


def pool(count: int = COUNT) -> Buffers:
    """Some of the small buffers of an RX partition."""
    return Buffers(PARTITION, Pool(BASE, SIZE, count, FIRST))


def test_the_buffer_freed_last_is_given_out_first() -> None:
    buffers = pool()
    first, second = buffers.take(), buffers.take()
    buffers.put(first)
    buffers.put(second)
    assert buffers.take() == second


def test_an_empty_pool_says_so() -> None:
    buffers = pool()
    assert [buffers.take() for _ in range(COUNT + 1)][-1] == -1
    assert (buffers.free, buffers.in_use) == (0, COUNT)


def leased(buffers: Buffers, tile: int = 5) -> int:
    slot = buffers.take()
    return buffers.lend(slot, tile) | buffers.offset(slot)


def test_a_release_names_the_buffer_by_any_offset_inside() -> None:
    buffers = pool()
    assert buffers.release(leased(buffers) + SIZE - 1, 5) is None
    assert buffers.in_use == 0


def test_what_is_not_a_lease_is_refused_with_its_reason() -> None:
    buffers = pool()
    word = leased(buffers)
    assert buffers.release(word ^ 1 << 48, 5) is Fault.PARTITION
    assert buffers.release(word - SIZE * COUNT, 5) is Fault.BOUNDS
    assert buffers.release(word + SIZE * COUNT, 5) is Fault.BOUNDS
    assert buffers.release(word ^ 1 << 32, 5) is Fault.GENERATION
    assert buffers.release(word, 6) is Fault.HOLDER
    assert buffers.in_use == 1
    assert buffers.release(word, 5) is None
    assert buffers.release(word, 5) is Fault.GENERATION


def test_generations_wrap() -> None:
    buffers = pool(1)
    for _ in range(GENERATIONS + 1):
        assert buffers.release(leased(buffers), 5) is None


def test_readers_find_the_generation_of_a_buffer_in_the_partition() -> None:
    buffers = pool()
    slot = buffers.take()
    word = buffers.lend(slot, 5)
    place = buffers.offset(slot) << 32 | SIZE
    assert PARTITION.check(place, word) is None
    assert buffers.release(word | buffers.offset(slot), 5) is None
    assert PARTITION.check(place, word) is Fault.GENERATION


def test_without_protection_nothing_is_published_and_any_word_is_a_release() -> None:
    partition = Partition.create(NUMBER, protected=False)
    buffers = Buffers(partition, Pool(BASE, SIZE, COUNT, FIRST))
    slot = buffers.take()
    before = bytes(partition.generations)
    buffers.lend(slot, 5)
    buffers.release_unchecked(buffers.offset(slot))
    assert buffers.in_use == 0
    assert bytes(partition.generations) == before


def test_a_dead_tile_s_leases_come_back_and_only_those() -> None:
    buffers = pool()
    dead, alive = leased(buffers, 5), leased(buffers, 6)
    assert buffers.reclaim(5) == 1
    assert buffers.release(dead, 5) is Fault.GENERATION
    assert buffers.release(alive, 6) is None


class Leases(RuleBasedStateMachine):
    """Any order of taking, putting, lending, releasing and reclaiming keeps every buffer in exactly one place."""

    slots = Bundle("slots")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.buffers = pool()
        self.out: dict[int, int] = {}  # slot: holder, 0 for the owner

    @rule(target=slots)
    def take(self) -> int:
        slot = self.buffers.take()
        if slot >= 0:
            assert slot not in self.out
            self.out[slot] = 0
        return slot

    @rule(slot=consumes(slots))
    def put(self, slot: int) -> None:
        if slot >= 0 and self.out.get(slot) == 0:
            self.buffers.put(slot)
            del self.out[slot]

    @rule(target=leases, slot=consumes(slots), tile=st.integers(1, 3))
    def lend(self, slot: int, tile: int) -> tuple[int, int, int]:
        if slot < 0 or self.out.get(slot) != 0:
            return -1, 0, 0
        self.out[slot] = tile
        return slot, tile, self.buffers.lend(slot, tile) | self.buffers.offset(slot)

    @rule(lease=leases, tile=st.integers(1, 3))
    def release(self, lease: tuple[int, int, int], tile: int) -> None:
        slot, holder, word = lease
        if slot >= 0 and self.buffers.release(word, tile) is None:
            assert self.out.pop(slot) == holder == tile

    @rule(tile=st.integers(1, 3))
    def reclaim(self, tile: int) -> None:
        held = [slot for slot, holder in self.out.items() if holder == tile]
        assert self.buffers.reclaim(tile) == len(held)
        for slot in held:
            del self.out[slot]

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.buffers.in_use == len(self.out)


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
