"""Driver, stack and application tiles together: bytes cross exactly, buffers all come back."""

from __future__ import annotations

import random

import pytest

from dlibos_node.stack.ports import Drop
from dlibos_node.tcp import event
from tests.support.applications import EchoServer
from tests.support.world import Visitor, World


def test_a_request_crosses_the_chip_and_comes_back() -> None:
    server = EchoServer()
    world = World(server.accept)
    visitor = world.connect()
    world.send(visitor, b"hello")
    assert visitor.data == b"hello"
    assert server.handlers[0].connection.peer[0] == "10.77.0.1"


def test_every_buffer_comes_back() -> None:
    server = EchoServer()
    world = World(server.accept)
    visitors = [world.connect() for _ in range(20)]
    for visitor in visitors:
        world.send(visitor, b"x" * 5000)
    for visitor in visitors:
        world.act(visitor, "shutdown")
    world.pass_time(0.5)
    assert [visitor.reason for visitor in visitors] == [event.NORMAL] * 20
    assert all(handler.ended == [False] for handler in server.handlers)
    assert world.chip.leases() == 0


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (1, 3, 1), (1, 1, 4), (3, 4, 5)])
def test_flows_spread_over_tiles_of_every_role(shape: tuple[int, int, int]) -> None:
    server = EchoServer()
    drivers, stacks, apps = shape
    world = World(server.accept, drivers=drivers, stacks=stacks, apps=apps)
    visitors = [world.connect() for _ in range(60)]
    for number, visitor in enumerate(visitors):
        world.send(visitor, b"%d" % number * 1000)
        assert visitor.data == b"%d" % number * 1000
    assert all(len(stack.host.flows) > 0 for stack in world.chip.stacks)
    assert all(app.sockets.accepted > 0 for app in world.chip.apps)
    assert all(driver.device.statistics.tx_frames > 0 for driver in world.chip.drivers)


def test_a_megabyte_survives_a_lossy_wire_both_ways() -> None:
    server = EchoServer()
    roll = random.Random(5)
    world = World(server.accept, lose=lambda _frame: roll.random() < 0.05)
    visitor = world.connect()
    data = roll.randbytes(1_000_000)
    world.send(visitor, data)
    for _ in range(400):
        if len(visitor.data) == len(data):
            break
        world.pass_time(0.5, step=0.05)
    assert visitor.data == data
    world.act(visitor, "shutdown")
    world.pass_time(20, step=0.1)
    assert world.chip.leases() == 0


def test_an_application_that_does_not_read_closes_the_window_and_bounds_what_is_held() -> None:
    server = EchoServer()
    world = World(server.accept)
    visitor = world.connect()
    server.handlers[0].connection.pause()
    world.send(visitor, b"z" * 4_000_000)
    world.pass_time(2)
    assert visitor.flow is not None
    assert visitor.flow.connection.unacknowledged >= 4_000_000 - 1_100_000
    assert world.chip.drivers[0].memory.in_use < 1000
    server.handlers[0].connection.resume()
    world.chip.apps[0].flush()
    world.pass_time(30, step=0.1)
    assert len(visitor.data) == 4_000_000


def test_a_client_that_does_not_read_stops_the_application_not_the_chip() -> None:
    server = EchoServer()
    world = World(server.accept)
    lazy = world.connect()
    lazy.reading = False
    world.send(lazy, b"a" * 8_000_000)
    world.pass_time(2)
    busy = world.connect()
    world.send(busy, b"b" * 1000)
    assert busy.data == b"b" * 1000


def test_a_full_app_partition_refuses_a_send_and_says_when_there_is_room() -> None:
    server = EchoServer()
    world = World(server.accept)
    memory = world.chip.apps[0].sockets.memory
    hoard = [memory.take(1) for _ in range(sum(pool.count for pool in memory.pools))]
    assert memory.free == 0
    visitor = world.connect()
    world.send(visitor, b"wait for me")
    assert visitor.data == b""
    for taken in hoard:
        if taken is not None:
            taken[0].put(taken[1])
    other = world.connect()
    assert visitor.data == b"wait for me"
    world.send(other, b"x")
    assert other.data == b"x"


def test_a_reset_by_the_client_reaches_the_application_once() -> None:
    server = EchoServer()
    world = World(server.accept)
    visitor = world.connect()
    world.send(visitor, b"x")
    world.act(visitor, "abort")
    assert server.handlers[0].ended == [True]
    assert world.chip.leases() == 0
    assert len(world.chip.stacks[0].host.flows) == 0


def test_a_dead_application_tile_resets_its_connections_and_no_others() -> None:
    server = EchoServer()
    world = World(server.accept, apps=2)
    visitors = [world.connect() for _ in range(10)]
    for visitor in visitors:
        world.send(visitor, b"x")
    dead = world.chip.tiles[3].number
    world.chip.disconnect(dead)
    world.run()
    assert sorted(visitor.reason == event.RESET for visitor in visitors) == [False] * 5 + [True] * 5
    survivors = [visitor for visitor in visitors if visitor.reason is None]
    for visitor in survivors:
        world.send(visitor, b"y")
        assert visitor.data == b"xy"
    assert world.connect().reason is None


def test_a_dead_stack_tile_ends_its_connections_at_the_application() -> None:
    server = EchoServer()
    world = World(server.accept)
    visitor = world.connect()
    world.send(visitor, b"x")
    world.chip.disconnect(world.chip.tiles[1].number)
    assert server.handlers[0].ended == [True]
    assert len(world.chip.apps[0].sockets) == 0
    assert world.chip.apps[0].sockets.memory.in_use == 0


def test_a_failing_application_loses_its_connection_only() -> None:
    server = EchoServer()
    world = World(server.accept)
    broken, fine = world.connect(), world.connect()

    def fail(data: memoryview) -> None:
        raise ZeroDivisionError

    server.handlers[0].received = fail  # type: ignore[method-assign]
    world.send(broken, b"x")
    world.send(fine, b"x")
    assert broken.reason == event.RESET
    assert fine.data == b"x"
    world.pass_time(0.1)  # the client delays its last ACK
    assert world.chip.leases() == 0


def test_a_port_nobody_listens_on_is_refused() -> None:
    world = World(EchoServer().accept)
    visitor = world.connect(port=81)
    assert visitor.reason == event.REFUSED


def test_idle_connections_hold_no_buffers() -> None:
    world = World(EchoServer().accept)
    visitors: list[Visitor] = [world.connect() for _ in range(300)]
    assert all(visitor.reason is None for visitor in visitors)
    assert world.chip.leases() == 0


def test_buffers_of_a_dead_connection_wait_until_the_application_has_read_them() -> None:
    """The last bytes and the FIN may come in one segment: the driver must not use their buffer again too early."""
    server = EchoServer()
    world = World(server.accept)
    visitor = world.connect()
    handler = server.handlers[0]
    handler.connection.close()
    world.run()
    handler.connection.pause()
    world.send(visitor, b"last words")
    world.act(visitor, "shutdown")
    assert visitor.reason == event.NORMAL
    assert len(world.chip.stacks[0].host.flows) == 0
    assert handler.ended == [False]  # dead while paused: what was held is given up, and only now released
    world.chip.apps[0].flush()
    world.run()
    assert world.chip.leases() == 0


def test_readers_are_served_while_others_pin_the_receive_buffers() -> None:
    server = EchoServer()
    world = World(server.accept)
    hoarders = [world.connect() for _ in range(40)]
    for handler in server.handlers:
        handler.connection.pause()
    for hoarder in hoarders:
        for _ in range(200):
            world.send(hoarder, b"h" * 1000)
    world.pass_time(1)
    small = world.chip.drivers[0].memory.memories[1].small
    assert small.free > small.count // 4
    assert world.chip.stacks[0].host.drops[Drop.MEMORY] > 0
    visitor = world.connect()
    for _ in range(20):
        world.send(visitor, b"r" * 1000)
    assert len(visitor.data) == 20_000
    for handler in server.handlers:
        handler.connection.resume()
    world.chip.apps[0].flush()
    world.pass_time(60, step=0.1)
    assert all(len(hoarder.data) == 200_000 for hoarder in hoarders)
