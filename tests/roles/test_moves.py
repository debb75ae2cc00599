"""Buckets go from stack tile to stack tile under load: nobody notices, nothing leaks, no bucket has two holders."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlibos_node.tcp import event, state
from tests.support.applications import EchoServer
from tests.support.chip import BUCKETS
from tests.support.moving import MovingWorld
from tests.support.world import Visitor


def all_to(number: int) -> bytes:
    return bytes([number]) * BUCKETS


def test_a_connection_goes_on_at_another_stack_tile() -> None:
    server = EchoServer()
    world = MovingWorld(server.accept, stacks=2)
    first, second = world.chip.stacks
    visitors = [world.connect() for _ in range(20)]
    for visitor in visitors:
        world.send(visitor, b"before")
    world.assign(all_to(2))
    assert (len(first.host.flows), len(second.host.flows)) == (0, 20)
    for visitor in visitors:
        world.send(visitor, b" and after")
    assert [bytes(visitor.data) for visitor in visitors] == [b"before and after"] * 20
    assert not first.departures.busy
    assert not second.arrivals.busy
    assert first.departures.moved == second.arrivals.adopted > 0
    assert first.held == bytes(BUCKETS // 8)
    assert second.held == b"\xff" * (BUCKETS // 8)
    assert not world.chip.faults()


def test_every_state_moves_and_comes_to_its_end() -> None:
    server = EchoServer()
    world = MovingWorld(server.accept, stacks=2)
    world.assign(all_to(1))
    visitors = [world.connect() for _ in range(8)]
    half_closed, unread, resting = visitors[:2], visitors[2:4], visitors[4:6]
    for visitor in half_closed:
        handler = server.handlers[visitors.index(visitor)]
        handler.eof = lambda: None  # type: ignore[method-assign]  # keeps its side open
        world.act(visitor, "shutdown")
    for visitor in unread:
        server.handlers[visitors.index(visitor)].connection.pause()
        world.send(visitor, b"r" * 50_000)
    for visitor in resting:
        server.handlers[visitors.index(visitor)].connection.close()
        world.settle_application()
        world.act(visitor, "shutdown")
    opening = world.half_open()
    world.assign(all_to(2))
    second = world.chip.stacks[1].host.flows
    assert {flow.conn.state for flow in second} == {
        state.ESTABLISHED,
        state.CLOSE_WAIT,
        state.SYN_RCVD,
    }
    assert second.waiting == 2
    for visitor in unread:
        server.handlers[visitors.index(visitor)].connection.resume()
    for visitor in half_closed:
        server.handlers[visitors.index(visitor)].connection.close()
    world.settle_application()
    world.pass_time(3)
    assert [bytes(visitor.data) for visitor in unread] == [b"r" * 50_000] * 2
    assert [visitor.reason for visitor in half_closed] == [event.NORMAL] * 2
    world.send(opening, b"hello")
    assert opening.data == b"hello"
    assert not world.chip.faults()


@pytest.mark.parametrize("protected", [True, False])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_buckets_to_and_fro_in_any_order_of_messages(seed: int, *, protected: bool) -> None:
    roll = random.Random(seed)
    server = EchoServer()
    world = MovingWorld(server.accept, stacks=3, drivers=2, apps=2, protected=protected, roll=roll)
    visitors = [world.connect() for _ in range(12)]
    sent = {id(visitor): bytearray() for visitor in visitors}
    world.lazy = True
    for _ in range(12):
        world.assign(bytes(roll.choice(world.numbers) for _ in range(BUCKETS)), wait=False)
        for visitor in visitors:
            data = roll.randbytes(roll.choice([0, 10, 3000, 70_000]))
            sent[id(visitor)] += data
            world.send(visitor, data)
        if roll.random() < 0.5:
            handler = roll.choice(server.handlers)
            roll.choice([handler.connection.pause, handler.connection.resume])()
        world.steps(roll.randrange(200))
        world.one_holder()
        world.pass_time(roll.choice([0, 0.02, 0.3]), step=0.02)
    world.lazy = False
    finish(world, server, visitors)
    assert [visitor.data for visitor in visitors] == [sent[id(visitor)] for visitor in visitors]
    assert [visitor.reason for visitor in visitors] == [event.NORMAL] * 12
    assert world.chip.leases() == 0
    assert not world.chip.faults()
    assert not any(stack.departures.busy or stack.arrivals.busy for stack in world.chip.stacks)


def finish(world: MovingWorld, server: EchoServer, visitors: list[Visitor]) -> None:
    """Let everything arrive, then let all clients go."""
    for handler in server.handlers:
        handler.connection.resume()
        handler.sent()
    world.settle_application()
    world.pass_time(40, step=0.1)
    for visitor in visitors:
        world.act(visitor, "shutdown")
    world.pass_time(10, step=0.1)
    world.one_holder(everything=True)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_stack_tile_that_dies_in_a_move_takes_nobody_else_with_it(seed: int) -> None:
    roll = random.Random(seed)
    server = EchoServer()
    world = MovingWorld(server.accept, stacks=3, drivers=2, apps=2, roll=roll)
    dead, other, bystander = roll.sample(world.numbers, 3)
    visitors = [world.connect() for _ in range(24)]
    for visitor in visitors:
        world.send(visitor, b"x" * roll.choice([1, 40_000]))
    safe = [visitor for visitor in visitors if world.server_of(visitor) == bystander]
    paused = roll.sample(server.handlers, 6)
    for handler in paused:
        handler.connection.pause()
    move = {dead: other, other: dead}
    world.lazy = True
    world.assign(bytes(move.get(owner, owner) for owner in world.chip.owners), wait=False)
    for visitor in visitors:
        world.send(visitor, b"y" * 5000)
    world.steps(roll.randrange(150))
    world.kill(dead)
    world.lazy = False
    for handler in paused:
        handler.connection.resume()
    world.settle_application()
    world.pass_time(8, step=0.1)
    assert all(visitor.reason is None and visitor.data.endswith(b"y" * 5000) for visitor in safe)
    alive = [stack for tile, stack in zip(world.numbers, world.chip.stacks, strict=True) if tile != dead]
    assert not any(stack.departures.busy or stack.arrivals.busy for stack in alive)
    assert not any(app.sockets.moves.under_way for app in world.chip.apps)
    for stack in alive:
        assert stack.port.leases == 0
    for visitor in visitors:
        if visitor.reason is None:
            world.act(visitor, "abort")
    world.pass_time(2, step=0.1)
    assert sum(driver.memory.in_use for driver in world.chip.drivers) == 0
    assert sum(app.sockets.memory.in_use for app in world.chip.apps) == 0
