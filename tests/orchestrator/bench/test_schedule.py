from __future__ import annotations

from collections import Counter

from dlibos_orchestrator.bench.leg import FUSED, NGINX, PROTECTED, UNPROTECTED
from dlibos_orchestrator.bench.schedule import CHAIN, orders, schedule


def apart(servers: tuple[str, ...], one: str, other: str) -> int:
    return abs(servers.index(one) - servers.index(other))


def test_every_server_has_one_leg_for_each_count_in_each_round() -> None:
    blocks = list(schedule(10, (64, 256), seed=1))
    assert Counter((block.round, block.connections) for block in blocks) == {
        (number, count): 1 for number in range(1, 11) for count in (64, 256)
    }
    assert all(sorted(block.servers) == sorted(CHAIN) for block in blocks)
    assert [block.round for block in blocks] == sorted(block.round for block in blocks)


def test_protected_and_unprotected_are_always_loaded_one_after_the_other() -> None:
    assert len(set(orders())) == 6
    for block in schedule(20, (64, 256), seed=2):
        assert apart(block.servers, PROTECTED, UNPROTECTED) == 1


def test_most_rounds_load_all_compared_pairs_one_after_the_other() -> None:
    pairs = [(UNPROTECTED, FUSED), (FUSED, NGINX)]
    near = [sum(apart(order, *pair) == 1 for order in orders()) for pair in pairs]
    assert near == [4, 4]


def test_every_second_round_mirrors_the_one_before() -> None:
    for count in (64, 256):
        mine = [block.servers for block in schedule(10, (64, 256), seed=3) if block.connections == count]
        assert [later[::-1] for later in mine[1::2]] == mine[::2]
        firsts = Counter(apart_first(servers) for servers in mine)
        assert firsts == {PROTECTED: 5, UNPROTECTED: 5}


def apart_first(servers: tuple[str, ...]) -> str:
    """Which of the two comes first."""
    return min((PROTECTED, UNPROTECTED), key=servers.index)


def test_the_seed_decides() -> None:
    assert list(schedule(6, (64, 256), seed=4)) == list(schedule(6, (64, 256), seed=4))
    assert len({tuple(schedule(6, (64, 256), seed=seed)) for seed in range(5)}) == 5
    assert {block.connections for block in list(schedule(8, (64, 256), seed=5))[::2]} == {64, 256}
