from __future__ import annotations

import pytest
from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from dlibos.control.v1.orchestrator_pb2 import Pin, Request, Scale

from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.options import MeshOptions
from dlibos_orchestrator.model.spec import apply_request, spec_of
from dlibos_orchestrator.plan import steps
from dlibos_orchestrator.plan.world import World
from tests.orchestrator.plan.trial import small_mesh

# On 4x3: the driver is tile 0, the stacks are 1 and 4, the apps 2 and 5, the idle tile is 3.
OPTIONS = MeshOptions(width=4, height=3, stack=2, app=2, idle=1, tune={"buckets": 12})


def running(options: MeshOptions) -> World:
    world = World(small_mesh(options))
    for entry in world.mesh.tiles:
        world.start(entry.tile)
    world.settle()
    return world


def planned(*requests: Request, options: MeshOptions = OPTIONS, dead: int = -1) -> list[str]:
    world, spec = running(options), spec_of(options)
    world.end(dead)
    world.settle()
    seen = world.observe({}, 1.0)
    for request in requests:
        spec = apply_request(spec, world.mesh, request, seen)
    return steps(spec, world.mesh, seen)


def test_nothing_is_left_to_do() -> None:
    assert planned() == []


def test_a_mesh_that_does_not_run_is_started() -> None:
    assert steps(spec_of(OPTIONS), small_mesh(OPTIONS), {}) == [f"start tile {tile}" for tile in range(6)]


def test_a_stack_more_takes_the_idle_tile_and_its_share_of_the_buckets() -> None:
    assert planned(Request(scale=Scale(stack=3, idle=0))) == [
        "start tile 3 as stack",
        "move 2 buckets from tile 1 to tile 3",
        "move 2 buckets from tile 4 to tile 3",
    ]


def test_a_stack_less_gives_its_buckets_away_first() -> None:
    assert planned(Request(scale=Scale(stack=1))) == [
        "move 6 buckets from tile 4 to tile 1",
        "drain tile 4",
        "let tile 4 be idle",
    ]


def test_idle_tiles_are_replaced_where_there_is_room() -> None:
    assert planned(Request(scale=Scale(app={"": 3}))) == ["start tile 3 as app", "start tile 6 as idle"]


def test_a_tile_changes_its_role_by_way_of_being_idle() -> None:
    assert planned(Request(assign=Pin(tile=2, role=mesh_pb2.ROLE_STACK))) == [
        "drain tile 2",
        "let tile 2 be idle",
        "start tile 2 as stack",
        "move 2 buckets from tile 1 to tile 2",
        "move 2 buckets from tile 4 to tile 2",
    ]


def test_a_restart_drains_first() -> None:
    assert planned(Request(restart=2)) == ["drain tile 2", "start tile 2 anew"]
    assert planned(Request(restart=4)) == [
        "move 6 buckets from tile 4 to tile 1",
        "drain tile 4",
        "start tile 4 anew",
        "move 6 buckets from tile 1 to tile 4",
    ]


def test_a_dead_tile_is_started_before_all_else() -> None:
    assert planned(Request(scale=Scale(app={"": 1})), dead=1) == ["start tile 1", "drain tile 2", "let tile 2 be idle"]


def test_a_full_mesh_changes_by_way_of_what_leaves() -> None:
    full = MeshOptions(width=3, height=2, stack=2, app=3, tune={"buckets": 12})
    told = planned(Request(scale=Scale(stack=3, app={"": 2})), options=full)
    assert [line.split(" ")[0] for line in told] == ["drain", "let", "start", "move", "move"]


def test_where_there_is_no_way_it_says_so() -> None:
    line = MeshOptions(width=3, height=1, tune={"buckets": 12})
    world, spec = running(line), spec_of(line)
    stack, app = (
        next(entry.tile for entry in world.mesh.tiles if entry.role == role)
        for role in (mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP)
    )
    # Each is the last of its role, so neither may drain before the other has changed.
    spec.pins.append(orchestrator_pb2.Pin(tile=stack, role=mesh_pb2.ROLE_APP, domain=1))
    spec.pins.append(orchestrator_pb2.Pin(tile=app, role=mesh_pb2.ROLE_STACK))
    with pytest.raises(UsageError, match="there is no way from the mesh as it is to that"):
        steps(spec, world.mesh, world.observe({}, 1.0))
