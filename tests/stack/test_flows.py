"""Listening, the backlog, TIME-WAIT, and what is said to strangers."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from dlibos_node.stack.flows import TICK
from dlibos_node.stack.listeners import Listeners
from dlibos_node.stack.ports import Drop
from dlibos_node.tcp import event
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.wire.tcp import RST, SYN
from tests.support.applications import Echo, EchoServer
from tests.support.chip import Chip, Timer
from tests.support.world import World

FLAGS_AT = 10 + 14 + 20 + 13


def test_ports_are_shared_by_their_applications_in_turn() -> None:
    listeners = Listeners(16)
    assert [listeners.add(80, app, 0) for app in (5, 6, 5)] == [0, 0, 0]
    listener = listeners.find(80)
    assert listener is not None
    assert [listener.next_app() for _ in range(4)] in ([6, 5, 6, 5], [5, 6, 5, 6])
    listeners.remove(5)
    assert listener.next_app() == 6
    listeners.remove(6)
    assert listeners.find(80) is None


def test_an_impossible_port_is_refused() -> None:
    assert Listeners(16).add(0, 5, 0) == errno.EINVAL
    assert Listeners(16).add(70_000, 5, 0) == errno.EINVAL


def test_half_open_connections_beyond_the_backlog_are_dropped_and_counted() -> None:
    world = World(EchoServer().accept, lose=lambda frame: frame[FLAGS_AT] & SYN == 0, backlog=10)
    for _ in range(15):
        world.connect()
    host = world.chip.stacks[0].host
    assert len(host.flows) == 10
    assert host.drops[Drop.BACKLOG] >= 5


def test_a_half_open_connection_gives_its_place_back_when_it_is_given_up() -> None:
    world = World(EchoServer().accept, lose=lambda frame: frame[FLAGS_AT] & SYN == 0, backlog=1)
    world.connect()
    world.pass_time(200, step=1.0)
    listener = world.chip.stacks[0].host.flows.listeners.find(80)
    assert listener is not None
    assert listener.half_open == 0
    assert len(world.chip.stacks[0].host.flows) == 0


def test_time_wait_ends_and_its_tuple_may_be_used_again() -> None:
    server = EchoServer()
    world = World(server.accept)
    for _ in range(50):
        visitor = world.connect()
        server.handlers[-1].connection.close()
        world.run()
        world.act(visitor, "shutdown")
        assert visitor.reason == event.NORMAL
    flows = world.chip.stacks[0].host.flows
    assert flows.waiting == 50
    world.pass_time(61, step=1.0)
    assert (flows.waiting, len(flows)) == (0, 0)


def test_a_new_syn_reopens_a_tuple_in_time_wait() -> None:
    """RFC 9293 section 3.6.1: a SYN beyond the old connection's sequence numbers begins a new one."""
    server = EchoServer()
    world = World(server.accept)
    world.client._free.clear()  # one port only, so that every connection has the same 4-tuple
    world.client._free.append(50_000)
    for turn in range(5):
        visitor = world.connect()
        world.send(visitor, b"%d" % turn)
        assert visitor.data == b"%d" % turn
        server.handlers[-1].connection.close()
        world.run()
        world.act(visitor, "shutdown")
        world.pass_time(1.1, step=0.5)  # the client's own TIME-WAIT is a second


def test_an_unknown_segment_is_answered_by_a_reset_and_a_reset_by_nothing() -> None:
    world = World(EchoServer().accept)
    recorded: list[bytes] = []

    def record(frame: bytes) -> bool:
        recorded.append(frame)
        return False

    other = World(EchoServer().accept, lose=record)
    visitor = other.connect()
    other.act(visitor, "shutdown")
    fin, reset = recorded[-1], bytearray(recorded[-1])
    world.chip.deliver(recorded[2])
    world.chip.run()
    (answer,) = world.chip.transmitted()
    assert answer[FLAGS_AT] & RST
    reset[FLAGS_AT] = RST
    world.chip.deliver(bytes(reset))
    world.chip.run()
    assert world.chip.transmitted() == []
    assert fin
    assert world.chip.stacks[0].host.drops[Drop.STRAY] == 2


def test_initial_sequence_numbers_differ_by_tuple_and_move_with_time() -> None:
    """RFC 6528."""
    chip = Chip(EchoServer().accept, config=TcpConfig())
    flows = chip.stacks[0].host.flows
    one, other = flows.initial_sequence(1, 0), flows.initial_sequence(2, 0)
    assert one != other
    assert flows.initial_sequence(1, 4000) == (one + 1000) & 0xFFFF_FFFF


class Silent(Echo):
    """Reads and says nothing."""

    def received(self, data: memoryview) -> None:
        pass


def test_timers_of_many_connections_ring_together_and_none_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Silent)
    chip, clock = world.chip, world.chip.clock
    visitors = [world.connect() for _ in range(20)]
    world.pass_time(2, step=0.5)  # the handshakes' timers
    rings: set[int] = set()
    call_at = clock.call_at

    def noting(when: float, callback: Callable[[], None]) -> Timer:
        rings.add(round(when * 1e6))
        return call_at(when, callback)

    monkeypatch.setattr(clock, "call_at", noting)
    first = clock.now
    for visitor in visitors:
        world.send(visitor, b"x")
        clock.advance(0.0001)
    clock.advance(first + 0.0399 - clock.now)
    assert chip.transmitted() == []
    clock.advance(0.0021 + TICK / 1e6)
    chip.settle()
    assert len(chip.transmitted()) == 20  # one delayed ACK each
    rings.discard(round(clock.now * 1e6))  # the driver's, which waits for nothing
    assert len(rings) <= 2
