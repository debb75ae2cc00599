"""The socket interface over a whole chip: long sends, reservations, pausing, half close, and the ends."""

from __future__ import annotations

import pytest

from dlibos_node.sockets.buffers import LARGE, MEDIUM, SMALL, AppMemory
from tests.support.applications import Recorder
from tests.support.world import World


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, MEDIUM, MEDIUM + 1, LARGE, LARGE + 1, 300_000])
def test_a_send_of_any_size_arrives_and_its_buffers_come_back(size: int) -> None:
    app = Recorder()
    world = World(app.accept)
    visitor = world.connect()
    data = bytes(i % 251 for i in range(size))
    assert app.link.send(data)
    assert app.link.unacknowledged == size
    world.run()
    world.pass_time(0.1)
    assert visitor.data == data
    assert app.link.unacknowledged == 0
    assert world.chip.leases() == 0


def memory_of(world: World) -> AppMemory:
    return world.chip.apps[0].sockets.memory


def test_a_send_that_does_not_fit_whole_is_not_begun() -> None:
    app = Recorder()
    world = World(app.accept)
    visitor = world.connect()
    in_use = memory_of(world).in_use
    assert not app.link.send(bytes(memory_of(world).free + 1))
    assert (memory_of(world).in_use, app.link.unacknowledged) == (in_use, 0)
    world.run()
    assert visitor.data == b""


def test_a_buffer_is_reserved_filled_and_sent_without_a_copy() -> None:
    app = Recorder()
    world = World(app.accept)
    visitor = world.connect()
    view = app.link.allocate(10_000)
    assert view is not None
    assert len(view) == 10_000
    assert len(app.link.allocate(5) or b"") == 5  # the same buffer
    view[:5] = b"hello"
    app.link.commit(5)
    world.run()
    assert visitor.data == b"hello"
    app.link.commit(5)  # nothing reserved: nothing happens
    assert app.link.allocate(100) is not None
    app.link.commit(0)
    world.pass_time(0.1)
    assert world.chip.leases() == 0


def test_a_reservation_is_given_back_when_the_connection_ends() -> None:
    app = Recorder()
    world = World(app.accept)
    visitor = world.connect()
    app.link.allocate(100)
    world.act(visitor, "abort")
    assert app.calls == ["reset"]
    assert memory_of(world).in_use == 0


def test_paused_data_waits_and_the_end_comes_after_it() -> None:
    app = Recorder()
    world = World(app.accept)
    visitor = world.connect()
    app.link.pause()
    world.send(visitor, b"one")
    world.send(visitor, b"two")
    world.act(visitor, "shutdown")
    assert app.calls == []
    app.link.resume()
    world.chip.apps[0].flush()
    world.run()
    assert app.data == b"onetwo"
    assert app.calls == ["received", "received", "eof"]


def test_half_closed_connections_still_carry_the_other_direction() -> None:
    app = Recorder()
    world = World(app.accept)
    visitor = world.connect()
    world.act(visitor, "shutdown")
    assert app.calls == ["eof"]
    app.link.send(b"late answer")
    app.link.close()
    world.run()
    world.pass_time(0.1)
    assert visitor.data == b"late answer"
    assert visitor.peer_has_closed
    assert app.calls[-1] == "closed"


def test_the_application_may_close_first_and_go_on_reading() -> None:
    app = Recorder()
    world = World(app.accept)
    visitor = world.connect()
    app.link.close()
    world.run()
    assert visitor.peer_has_closed
    world.send(visitor, b"more")
    world.act(visitor, "shutdown")
    assert app.data == b"more"
    assert app.calls.count("closed") == 1
    assert world.chip.stacks[0].host.flows.waiting == 1  # TIME-WAIT is ours


def test_an_aborted_connection_ends_once_and_ignores_what_follows() -> None:
    app = Recorder()
    world = World(app.accept)
    visitor = world.connect()
    app.link.abort()
    world.run()
    assert app.calls == ["reset"]
    assert visitor.reason is not None
    assert app.link.send(b"into the void")
    app.link.close()
    world.run()
    assert app.calls == ["reset"]
    assert world.chip.leases() == 0
