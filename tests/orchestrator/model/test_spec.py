from __future__ import annotations

import pytest
from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from dlibos.control.v1.orchestrator_pb2 import Pin, Request, Scale

from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.model.options import AutoscaleLimits, Domain, MeshOptions
from dlibos_orchestrator.model.spec import apply_request, spec_of
from tests.orchestrator.plan.trial import small_mesh

DRIVER, STACK, APP, IDLE = mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP, mesh_pb2.ROLE_IDLE
# On 4x3: the driver is tile 0, the stacks are 1 and 4, the apps 2 and 5, the idle tile is 3 (test_the_mesh_used_here).
OPTIONS = MeshOptions(width=4, height=3, stack=2, app=2, idle=1)
DOMAINS = MeshOptions(width=4, height=3, domain=(Domain("a", app=2), Domain("b", port=81)))


def asked(request: Request, options: MeshOptions = OPTIONS, **seen: Observed) -> orchestrator_pb2.Spec:
    observed = {one.tile: one for one in seen.values()}
    return apply_request(spec_of(options), small_mesh(options), request, observed)


def counts(spec: orchestrator_pb2.Spec) -> tuple[int, int, list[int], int]:
    return spec.driver, spec.stack, list(spec.app), spec.idle


def test_the_mesh_used_here() -> None:
    roles = {entry.tile: entry.role for entry in small_mesh(OPTIONS).tiles}
    assert roles == {0: DRIVER, 1: STACK, 2: APP, 3: IDLE, 4: STACK, 5: APP}


def test_what_up_asks_for() -> None:
    spec = spec_of(MeshOptions(driver=2, stack=3, idle=1, domain=DOMAINS.domain, compromised=frozenset({5, 1})))
    assert counts(spec) == (2, 3, [2, 1], 1)
    assert (spec.version, list(spec.compromised), spec.HasField("autoscale")) == (1, [1, 5], False)
    assert counts(spec_of(MeshOptions(protection="fused", driver=2))) == (2, 0, [], 0)
    assert spec_of(MeshOptions(autoscale=AutoscaleLimits(hold=3.0))).autoscale.hold == 3.0


def test_scaling_changes_only_what_is_named_and_counts_the_version_up() -> None:
    spec = asked(Request(scale=Scale(stack=3)))
    assert (counts(spec), spec.version) == ((1, 3, [2], 1), 2)
    assert counts(asked(Request(scale=Scale(driver=2, idle=0, app={"": 4})))) == (2, 2, [4], 0)
    assert counts(asked(Request(scale=Scale(app={"b": 3})), DOMAINS)) == (1, 1, [2, 3], 0)


def test_asking_for_what_is_wanted_already_changes_nothing() -> None:
    assert asked(Request(scale=Scale(stack=2))) == spec_of(OPTIONS)
    assert asked(Request(list_events=True)) == spec_of(OPTIONS)


def test_an_assigned_tile_takes_its_count_along() -> None:
    spec = asked(Request(assign=Pin(tile=2, role=STACK)))
    assert counts(spec) == (1, 3, [1], 1)
    assert [(pin.tile, pin.role, pin.domain) for pin in spec.pins] == [(2, STACK, 0)]
    assert counts(asked(Request(assign=Pin(tile=3, role=APP)))) == (1, 2, [3], 0)
    assert counts(asked(Request(assign=Pin(tile=9, role=DRIVER)))) == (2, 2, [2], 0)
    assert counts(asked(Request(assign=Pin(tile=1, role=STACK)))) == (1, 2, [2], 1), "it is one already"


def test_an_app_tile_may_change_its_domain() -> None:
    apps = [entry.tile for entry in small_mesh(DOMAINS).tiles if entry.domain == 1]
    spec = asked(Request(assign=Pin(tile=apps[0], role=APP, domain=2)), DOMAINS)
    assert list(spec.app) == [1, 2]


def test_a_second_pin_replaces_the_first() -> None:
    mesh, spec = small_mesh(OPTIONS), spec_of(OPTIONS)
    spec = apply_request(spec, mesh, Request(assign=Pin(tile=2, role=STACK)))
    spec = apply_request(spec, mesh, Request(assign=Pin(tile=2, role=DRIVER)))
    assert counts(spec) == (2, 2, [1], 1)
    assert [pin.role for pin in spec.pins] == [DRIVER]


def test_a_drained_tile_is_idle_and_again_changes_nothing() -> None:
    spec = asked(Request(drain=2))
    assert counts(spec) == (1, 2, [1], 2)
    assert apply_request(spec, small_mesh(OPTIONS), Request(drain=2)) == spec


def test_a_restart_wants_a_later_process_than_the_one_that_runs() -> None:
    runs = Observed(1, alive=True, incarnation=77)
    assert dict(asked(Request(restart=1), one=runs).later_than) == {1: 77}
    assert not asked(Request(restart=1)).later_than, "what does not run is started anyway"


def test_autoscale_goes_on_and_off() -> None:
    limits = orchestrator_pb2.Autoscale(high=0.8, low=0.2, hold=5, rest=15)
    spec = asked(Request(autoscale=limits))
    assert spec.autoscale == limits
    off = apply_request(spec, small_mesh(OPTIONS), Request(autoscale_off=True))
    assert not off.HasField("autoscale")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(), "asks for nothing"),
        (Request(scale=Scale(stack=0)), "0 stack tiles: a mesh needs at least one; ask for 1"),
        (Request(scale=Scale(driver=0)), "0 driver tiles"),
        (Request(scale=Scale(app={"": 0})), "0 app tiles"),
        (Request(scale=Scale(app={"mail": 2})), "no domain 'mail'; the mesh has default"),
        (Request(scale=Scale(stack=9)), "13 tiles do not fit on the 4x3 mesh; ask for at most 12"),
        (Request(assign=Pin(tile=12, role=STACK)), "no tile 12: the 4x3 mesh has tiles 0 to 11"),
        (Request(assign=Pin(tile=1)), "cannot be assigned that role"),
        (Request(assign=Pin(tile=1, role=mesh_pb2.ROLE_FUSED)), "cannot be assigned that role"),
        (Request(assign=Pin(tile=1, role=APP, domain=2)), "say which domain it is to serve: default"),
        (Request(assign=Pin(tile=0, role=STACK)), "tile 0 is the last driver tile"),
        (Request(drain=0), "tile 0 is the last driver tile, its work would have nowhere to go; `dlibos scale driver=2"),
        (Request(drain=9), "tile 9 has no process; see `dlibos ps`"),
        (Request(restart=0), "the last driver tile"),
        (Request(restart=9), "tile 9 has no process"),
        (Request(autoscale=orchestrator_pb2.Autoscale(high=0.5, low=0.6, hold=1)), "use 0 < low < high <= 1"),
        (Request(autoscale=orchestrator_pb2.Autoscale(high=0.8, low=0.5, hold=1)), "use low=0.4 or less"),
        (Request(autoscale=orchestrator_pb2.Autoscale(high=0.8, low=0.2)), "hold must be more than 0 s"),
    ],
)
def test_what_cannot_be_is_refused_with_the_next_step(request_: Request, words: str) -> None:
    with pytest.raises(UsageError) as refusal:
        asked(request_)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_several_domains_must_be_named() -> None:
    with pytest.raises(UsageError, match=r"the mesh has 2 domains: say which, as in app\.a=2"):
        asked(Request(scale=Scale(app={"": 2})), DOMAINS)
    with pytest.raises(UsageError, match="say which domain it is to serve: a, b"):
        asked(Request(assign=Pin(tile=11, role=APP)), DOMAINS)


def test_pins_may_not_contradict_counts() -> None:
    mesh, spec = small_mesh(OPTIONS), spec_of(OPTIONS)
    for tile in (1, 4):
        spec = apply_request(spec, mesh, Request(assign=Pin(tile=tile, role=STACK)))
    with pytest.raises(UsageError, match="1 stack tiles contradict what was assigned: 1, 4 are to be stack"):
        apply_request(spec, mesh, Request(scale=Scale(stack=1)))


def test_drained_tiles_take_room() -> None:
    mesh, spec = small_mesh(OPTIONS), spec_of(OPTIONS)
    spec = apply_request(spec, mesh, Request(drain=2))
    spec = apply_request(spec, mesh, Request(scale=Scale(idle=0)))
    with pytest.raises(UsageError, match="`dlibos assign 2 ROLE` first"):
        apply_request(spec, mesh, Request(scale=Scale(stack=10)))


def test_a_fused_mesh_keeps_its_shape() -> None:
    fused = MeshOptions(protection="fused", driver=2)
    with pytest.raises(UsageError, match="a fused mesh keeps its shape"):
        asked(Request(scale=Scale(driver=1)), fused)


def test_tiles_in_the_attackers_hands_stay_what_they_are() -> None:
    attacked = MeshOptions(width=4, height=3, stack=2, app=2, idle=1, compromised=frozenset({1}))
    for request in (Request(drain=1), Request(assign=Pin(tile=1, role=APP)), Request(restart=1)):
        with pytest.raises(UsageError, match="in the attacker's hands"):
            asked(request, attacked)
    with pytest.raises(UsageError, match="besides the 1 in the attacker's hands; ask for 2"):
        asked(Request(scale=Scale(stack=1)), attacked)
