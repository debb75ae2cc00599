from __future__ import annotations

from collections.abc import Mapping

import pytest
from dlibos.control.v1 import mesh_pb2
from dlibos.control.v1.orchestrator_pb2 import Pin, Request, Scale

from dlibos_orchestrator.model.entries import evenly
from dlibos_orchestrator.model.observed import Observed, bitmap
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.model.spec import apply_request, spec_of
from dlibos_orchestrator.plan import SETTLED, Action, Failure, Kill, Start, Wait, Write, next_action
from dlibos_orchestrator.plan.backoff import STEADY, due, failed
from dlibos_orchestrator.plan.fence import ALL_HUNG, HUNG, NEVER_SPOKE
from dlibos_orchestrator.plan.spread import balanced
from dlibos_orchestrator.plan.tokens import FLIGHT, LOST
from tests.orchestrator.plan.trial import small_mesh

# On 4x3: the driver is tile 0, the stacks are 1 and 4, the apps 2 and 5, the idle tile is 3.
OPTIONS = MeshOptions(width=4, height=3, stack=2, app=2, idle=1, tune={"buckets": 12})
NOW = 1000.0


class Scene:
    """A mesh that is well, of which a test changes what it is about."""

    def __init__(self, options: MeshOptions = OPTIONS) -> None:
        self.spec, self.mesh = spec_of(options), small_mesh(options)
        self.failures: dict[int, Failure] = {}
        self.seen: dict[int, Observed] = {}
        stacks = [entry.tile for entry in self.mesh.tiles if entry.role == mesh_pb2.ROLE_STACK]
        for entry in self.mesh.tiles:
            held = [bucket for bucket, owner in enumerate(self.mesh.owners) if owner == entry.tile]
            self.seen[entry.tile] = Observed(
                entry.tile, True, entry.role, incarnation=10 + entry.tile, ready=True, epoch=1, pid=1 + entry.tile,
                held=bitmap(held, 12) if held else b"", heard=NOW, started=NOW - 100, sequence=1, changed=NOW,
                linked=frozenset(stacks) - {entry.tile},
            )  # fmt: skip

    def change(self, tile: int, **facts: object) -> None:
        self.seen[tile] = self.seen[tile]._replace(**facts)  # type: ignore[arg-type]

    def dies(self, tile: int, noticed: bool = True) -> None:
        self.seen[tile] = Observed(tile, ended=NOW)
        for other, seen in self.seen.items():
            if noticed and other != tile:
                self.seen[other] = seen._replace(linked=seen.linked - {tile})

    def next(self, now: float = NOW) -> Action:
        return next_action(self.spec, self.mesh, self.seen, self.failures, now)

    def later(self, seconds: float) -> float:
        """Everybody who lives has spoken until then."""
        for tile, seen in self.seen.items():
            if seen.alive:
                self.seen[tile] = seen._replace(heard=NOW + seconds)
        return NOW + seconds


def roles(mesh: mesh_pb2.Mesh) -> Mapping[int, int]:
    return {entry.tile: entry.role for entry in mesh.tiles}


def test_a_mesh_that_is_well_is_left_alone() -> None:
    action = Scene().next()
    assert action == Wait(SETTLED, NOW + HUNG)


# --- fence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"heard": NOW - HUNG - 1}, "has said nothing for 5 s"),
        ({"role": mesh_pb2.ROLE_APP}, "is to be stack: its process is app"),
        ({"epoch": 9}, "speaks of epoch 9: there has been none after 1"),
        ({"drained": True}, "has retired and is to begin anew"),
        ({"sequence": 0, "heard": 0.0, "started": NOW - NEVER_SPOKE - 1}, "has said nothing for 30 s"),
    ],
)
def test_processes_that_do_no_good_are_ended(facts: dict[str, object], words: str) -> None:
    scene = Scene()
    scene.change(4, **facts)
    action = scene.next()
    assert isinstance(action, Kill)
    assert (action.tile, action.why) == (4, f"tile 4 {words}")


def test_a_process_of_a_tile_the_mesh_does_not_have_is_ended() -> None:
    scene = Scene()
    scene.seen[11] = Observed(11, alive=True, sequence=1, heard=NOW)
    scene.seen[7] = Observed(99, alive=True)  # nonsense: a word that names another tile
    assert scene.next() == Kill(11, "tile 11 is not in the mesh")


def test_when_all_are_silent_it_waits_longer_for_nobody_may_have_listened() -> None:
    scene = Scene()
    for tile in scene.seen:
        scene.change(tile, heard=NOW - HUNG - 1)
    assert isinstance(scene.next(), Wait)
    assert isinstance(scene.next(NOW - HUNG + ALL_HUNG), Kill)


def test_tiles_in_the_attackers_hands_are_left_alone_but_started_again() -> None:
    scene = Scene(MeshOptions(**{**vars(OPTIONS), "compromised": frozenset({5})}))
    scene.change(5, heard=0.0, drained=True, epoch=99, ready=False)
    assert isinstance(scene.next(), Wait)
    scene.dies(5)
    assert scene.next() == Start(5, "tile 5 (app) does not run")


# --- heal ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [0, 1, 2, 3, 4, 5])
def test_what_has_ended_is_started_in_place(tile: int) -> None:
    scene = Scene()
    scene.dies(tile)
    action = scene.next()
    assert isinstance(action, Start)
    assert action.tile == tile


def test_a_tile_that_fails_again_and_again_is_started_ever_later() -> None:
    scene, failure = Scene(), None
    waits = []
    for _ in range(10):
        failure = failed(failure, NOW)
        waits.append(max(0.0, due(failure) - NOW))
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert failed(failure, NOW, steady=STEADY) == Failure(1, NOW)
    scene.dies(2)
    scene.failures[2] = Failure(4, NOW)
    assert scene.next() == Wait("tile 2 fails again and again; it is started again after a while", NOW + 2.0)
    assert isinstance(scene.next(NOW + 2.0), Start)


def test_a_stack_tile_is_not_started_before_the_others_have_noticed_its_end() -> None:
    scene = Scene()
    scene.dies(4, noticed=False)
    action = scene.next()
    assert isinstance(action, Wait)
    assert "whether tile 1 has buckets of it is not known yet" in action.why


def test_what_a_live_stack_tile_holds_is_taken_out_of_the_dead_ones_share_first() -> None:
    scene = Scene()
    scene.dies(4)
    scene.change(1, held=b"\x57\x05")  # its own even buckets, and bucket 1, which it was about to give
    action = scene.next()
    assert isinstance(action, Write)
    assert (action.mesh.epoch, action.mesh.owners[1], set(action.mesh.owners[3::2])) == (2, 1, {4})
    scene.mesh = action.mesh
    assert isinstance(scene.next(), Start)


def test_a_bucket_that_may_be_on_its_way_between_two_live_ones_is_given_to_nobody() -> None:
    options = MeshOptions(**{**vars(OPTIONS), "stack": 3})
    scene = Scene(options)
    live, _, dying = (entry.tile for entry in scene.mesh.tiles if entry.role == mesh_pb2.ROLE_STACK)
    scene.dies(dying)
    held = [bucket for bucket, owner in enumerate(scene.mesh.owners) if owner == live]
    scene.change(live, held=bitmap(held[1:], 12))  # its first bucket is nobody's
    action = scene.next()
    assert isinstance(action, Wait)
    assert "buckets may be on their way" in action.why
    action = scene.next(scene.later(FLIGHT))
    assert isinstance(action, Write), "all have been heard for long enough: it was lost with the dead one"
    assert action.mesh.owners[held[0]] == dying


def test_a_bucket_that_stays_lost_makes_its_owner_begin_anew() -> None:
    scene = Scene()
    scene.change(1, held=b"\x54\x05")  # not bucket 0
    assert isinstance(scene.next(), Wait)
    assert isinstance(scene.next(scene.later(LOST)), Kill)


def test_an_empty_table_is_written_down_as_the_tiles_understand_it() -> None:
    scene = Scene()
    scene.mesh.owners = b""
    action = scene.next()
    assert isinstance(action, Write)
    assert action.mesh.owners == evenly([1, 4], 12)


def test_a_fused_mesh_is_only_healed() -> None:
    scene = Scene(MeshOptions(protection="fused", driver=2, idle=1))
    scene.spec.driver = 5
    assert isinstance(scene.next(), Wait)
    scene.dies(1)
    assert scene.next() == Start(1, "tile 1 (fused) does not run")


# --- grow, spread, shrink --------------------------------------------------------------------------------------------


def test_a_role_that_wants_more_takes_idle_tiles_then_the_best_free_places() -> None:
    scene = Scene()
    scene.spec = apply_request(scene.spec, scene.mesh, Request(scale=Scale(app={"": 4}, idle=0)))
    action = scene.next()
    assert isinstance(action, Write)
    assert action.mesh.epoch == 2
    assert {tile: role for tile, role in roles(action.mesh).items() if role != roles(scene.mesh).get(tile)} == {
        3: mesh_pb2.ROLE_APP,
        6: mesh_pb2.ROLE_APP,
    }
    entry = next(entry for entry in action.mesh.tiles if entry.tile == 6)
    assert (entry.address, entry.memory, entry.app.kind, entry.domain) == (
        "unix:/r/noc/6/sock", "/r/mem/6/sock", "web", 1,
    )  # fmt: skip


def test_no_second_table_before_the_first_is_in_force() -> None:
    scene = Scene()
    scene.spec = apply_request(scene.spec, scene.mesh, Request(scale=Scale(stack=1)))
    action = scene.next()
    assert isinstance(action, Write)
    assert set(action.mesh.owners) == {1}
    scene.mesh = action.mesh
    assert isinstance(scene.next(), Wait)
    scene.change(1, held=b"\xff\x0f", epoch=2)
    assert isinstance(scene.next(), Wait), "tile 4 has not said that it gave its buckets away"
    scene.change(4, held=b"", epoch=2)
    drain = scene.next()
    assert isinstance(drain, Write)
    assert [entry.tile for entry in drain.mesh.tiles if entry.draining] == [4]


def test_the_last_tile_that_can_be_counted_on_is_not_drained() -> None:
    scene = Scene()
    scene.spec = apply_request(scene.spec, scene.mesh, Request(scale=Scale(app={"": 1})))
    drain = scene.next()
    assert isinstance(drain, Write)
    leaving = next(entry.tile for entry in drain.mesh.tiles if entry.draining)
    other = 7 - leaving
    scene.dies(other)
    scene.failures[other] = Failure(9, NOW)
    action = scene.next()
    assert isinstance(action, Wait), "the other one does not run"


def test_what_has_drained_becomes_idle_and_its_process_ends() -> None:
    scene = Scene()
    scene.spec = apply_request(scene.spec, scene.mesh, Request(drain=2))
    drain = scene.next()
    assert isinstance(drain, Write)
    scene.mesh = drain.mesh
    for tile in (1, 4):
        scene.change(tile, epoch=2)
    assert scene.next() == Wait("tile 2 drains", NOW + HUNG)
    scene.change(2, drained=True, epoch=2)
    idle = scene.next()
    assert isinstance(idle, Write)
    assert roles(idle.mesh)[2] == mesh_pb2.ROLE_IDLE
    assert not any(entry.draining for entry in idle.mesh.tiles)
    scene.mesh = idle.mesh
    assert isinstance(scene.next(), Kill)
    scene.dies(2)
    assert scene.next() == Start(2, "tile 2 (idle) does not run")


def test_a_tile_that_dies_while_it_drains_has_drained() -> None:
    scene = Scene()
    scene.spec = apply_request(scene.spec, scene.mesh, Request(drain=2))
    drain = scene.next()
    assert isinstance(drain, Write)
    scene.mesh = drain.mesh
    scene.dies(2)
    idle = scene.next()
    assert isinstance(idle, Write)
    assert roles(idle.mesh)[2] == mesh_pb2.ROLE_IDLE


def test_what_is_wanted_again_while_it_drains_begins_anew_in_its_role() -> None:
    scene = Scene()
    wanted = scene.spec
    scene.spec = apply_request(scene.spec, scene.mesh, Request(drain=2))
    drain = scene.next()
    assert isinstance(drain, Write)
    scene.mesh, scene.spec = drain.mesh, wanted
    scene.change(2, drained=True, epoch=2)
    anew = scene.next()
    assert isinstance(anew, Write)
    assert roles(anew.mesh)[2] == mesh_pb2.ROLE_APP
    scene.mesh = anew.mesh
    assert isinstance(scene.next(), Kill)


def test_a_pinned_tile_that_is_not_there_yet_joins() -> None:
    scene = Scene()
    scene.spec = apply_request(scene.spec, scene.mesh, Request(assign=Pin(tile=11, role=mesh_pb2.ROLE_STACK)))
    action = scene.next()
    assert isinstance(action, Write)
    assert roles(action.mesh)[11] == mesh_pb2.ROLE_STACK


def test_shares_differ_by_one_at_most_and_few_buckets_move() -> None:
    owners = bytes([1] * 7 + [4] * 4)
    after = balanced(owners, [1, 4, 9], [1, 4, 9])
    assert sorted(after.count(tile) for tile in (1, 4, 9)) == [3, 4, 4]
    assert sum(old != new for old, new in zip(owners, after, strict=True)) == 3
    assert balanced(after, [1, 4, 9], [1, 4, 9]) == after
    assert balanced(owners, [], [1, 4]) == owners
    assert balanced(owners, [1], [1]) == owners, "buckets of a dead tile stay where they are"
