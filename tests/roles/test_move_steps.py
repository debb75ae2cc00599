"""Single steps of a move, with one link held back: what must wait for what."""

from __future__ import annotations

from dlibos_node.noc import tags
from dlibos_node.roles.orphans import Drop as OrphanDrop
from dlibos_node.stack.ports import Drop
from dlibos_node.tcp import event
from tests.support.applications import EchoServer, Recorder
from tests.support.chip import BUCKETS
from tests.support.moving import MovingWorld

FIRST, SECOND = 2, 3  # the stack tiles of a chip with two drivers
APP = 4


def world_of(accept: object) -> MovingWorld:
    world = MovingWorld(accept, drivers=2, stacks=2)  # type: ignore[arg-type]
    world.assign(bytes([FIRST]) * BUCKETS)
    return world


def test_a_connection_goes_only_when_no_driver_reads_its_payload_for_the_old_tile() -> None:
    recorder = Recorder()
    world = world_of(recorder.accept)
    world.connect()
    world.chip.blocked.add((FIRST, APP))  # MOVING waits
    world.assign(bytes([SECOND]) * BUCKETS)
    recorder.link.send(b"late")
    world.chip.blocked = {(FIRST, 0), (FIRST, 1)}  # the payload does not get to the driver tiles
    world.settle_application()
    first, second = world.chip.stacks
    assert (len(second.host.flows), second.arrivals.adopted, first.departures.moved) == (0, 0, 0)
    world.chip.blocked.clear()
    world.run()
    assert (len(second.host.flows), first.departures.moved) == (1, 1)


def test_what_was_acknowledged_and_not_reported_is_reported_by_the_new_tile() -> None:
    recorder = Recorder()
    world = world_of(recorder.accept)
    visitor = world.connect()
    route = next(iter(world.chip.stacks[0].host.flows)).route
    world.chip.blocked.add((route, FIRST))  # TX_DONE does not come
    recorder.link.send(b"x" * 100)
    world._turn = route  # the next frame, the ACK, goes to the other driver tile
    world.settle_application()
    world.pass_time(0.1)
    assert len(visitor.data) == 100
    assert recorder.link.unacknowledged == 100
    world.assign(bytes([SECOND]) * BUCKETS)
    assert world.chip.stacks[0].departures.moved == 0
    world.chip.blocked.clear()
    world.run()
    assert world.chip.stacks[1].arrivals.adopted == 1
    assert recorder.link.unacknowledged == 0
    assert world.chip.apps[0].sockets.memory.in_use == 0


def test_a_frame_that_comes_before_its_connection_waits_for_it() -> None:
    server = EchoServer()
    world = world_of(server.accept)
    visitor = world.connect()
    world.chip.blocked.add((FIRST, SECOND))
    world.assign(bytes([SECOND]) * BUCKETS)
    world.send(visitor, b"early")
    second = world.chip.stacks[1]
    assert len(second.host.custody) > 0
    assert visitor.data == b""
    world.chip.blocked.clear()
    world.run()
    assert visitor.data == b"early"
    assert (len(second.host.custody), visitor.reason) == (0, None)


def test_a_new_connection_waits_for_the_bucket() -> None:
    server = EchoServer()
    world = world_of(server.accept)
    world.chip.blocked.add((FIRST, SECOND))
    world.assign(bytes([SECOND]) * BUCKETS)
    visitor = world.connect()
    assert not server.handlers
    world.chip.blocked.clear()
    world.run()
    world.send(visitor, b"hi")
    assert visitor.data == b"hi"


def test_what_waits_too_long_is_dropped_and_counted_and_not_refused() -> None:
    server = EchoServer()
    world = world_of(server.accept)
    visitor = world.connect()
    world.chip.blocked.add((FIRST, SECOND))
    world.assign(bytes([SECOND]) * BUCKETS)
    world.send(visitor, b"early")
    world.pass_time(4, step=0.1)
    second = world.chip.stacks[1]
    assert second.host.drops[Drop.KEPT_LONG] > 0
    assert visitor.reason is None
    world.chip.blocked.clear()
    world.pass_time(10, step=0.1)
    assert visitor.data == b"early"
    assert world.chip.leases() == 0


def test_a_driver_tile_with_an_old_table_is_corrected() -> None:
    server = EchoServer()
    world = world_of(server.accept)
    visitor = world.connect()
    world.assign(bytes([SECOND]) * BUCKETS)
    for driver in world.chip.drivers:
        driver._steering.buckets[:] = [FIRST] * BUCKETS
    world.send(visitor, b"astray")
    world.pass_time(3, step=0.1)
    assert visitor.data == b"astray"
    for driver in world.chip.drivers:
        assert set(driver._steering.buckets) == {FIRST, SECOND}
    assert not world.chip.faults()


def test_a_syn_for_an_application_that_is_not_up_yet_is_dropped_and_one_for_nobody_is_refused() -> None:
    server = EchoServer()
    world = world_of(server.accept)
    host = world.chip.stacks[0].host
    host.flows.listeners.remove(APP)
    early, stranger = world.connect(), world.connect(port=9)
    assert (early.reason, stranger.reason) == (None, event.REFUSED)
    assert host.drops[Drop.NOT_LISTENING] == 1
    world.chip.apps[0].sockets.attach(world.chip.tiles[APP].peers[FIRST])
    world.pass_time(2)
    world.send(early, b"hi")
    assert early.data == b"hi"


def test_clients_of_a_dead_stack_tile_are_told_at_once() -> None:
    server = EchoServer()
    world = world_of(server.accept)
    visitors = [world.connect() for _ in range(3)]
    first = world.chip.stacks[0]
    for flow in list(first.host.flows):  # what is left of a process that died and was started again
        first.host.flows.hide(flow)
        del first.host.flows._handles[flow.handle]
    sockets = world.chip.apps[0].sockets
    sockets.detach(FIRST)
    world.settle_application()
    assert [handler.ended for handler in server.handlers] == [[True]] * 3
    assert [visitor.reason for visitor in visitors] == [None] * 3
    sockets.attach(world.chip.tiles[APP].peers[FIRST])
    world.run()
    assert [visitor.reason for visitor in visitors] == [event.RESET] * 3
    assert first.orphans.told == 3


def test_a_client_that_is_served_again_is_left_alone() -> None:
    server = EchoServer()
    world = world_of(server.accept)
    visitor = world.connect()
    [flow] = world.chip.stacks[0].host.flows
    world.chip.tiles[APP].peers[FIRST].post(tags.COMMANDS, tags.ORPHANS, flow.key)
    world.run()
    world.send(visitor, b"still here")
    assert visitor.data == b"still here"
    assert world.chip.stacks[0].orphans.drops[OrphanDrop.ALIVE] == 1


def test_a_stack_tile_is_retired_when_all_has_gone() -> None:
    server = EchoServer()
    world = world_of(server.accept)
    visitors = [world.connect() for _ in range(4)]
    first = world.chip.stacks[0]
    first.retire()
    seen = [first.retired]
    world.chip.blocked.add((APP, FIRST))  # LEFT does not come
    world.assign(bytes([SECOND]) * BUCKETS)
    seen.append(first.retired)
    world.chip.blocked.clear()
    world.run()
    assert [*seen, first.retired] == [False, False, True]
    for visitor in visitors:
        world.send(visitor, b"x")
    assert [bytes(visitor.data) for visitor in visitors] == [b"x"] * 4
