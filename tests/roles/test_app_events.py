"""SENT and DEAD: an application hears of its buffers only when no driver tile reads them any more."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.roles.app_events import AppEvents
from dlibos_node.stack.flow import Flow, Header
from dlibos_node.tcp.config import TcpConfig
from dlibos_node.tcp.connection import Connection
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.statistics import Statistics
from dlibos_node.wire.tcp import NO_OPTIONS
from tests.support.applications import EchoServer
from tests.support.world import World

STACK, APP, DRIVER, OTHER_DRIVER = 1, 2, 0, 5


class Port:
    """A way out whose drivers have finished the frames up to a ticket each."""

    def __init__(self) -> None:
        self.done = {DRIVER: 0, OTHER_DRIVER: 0}

    def way(self, route: int, key: int) -> int:
        raise AssertionError("nothing is sent here")

    def transmit(self, route: int, header: bytes, spans: Sequence[Span], gso_size: int) -> int:
        raise AssertionError("nothing is sent here")

    def release(self, lease: int) -> None:
        raise AssertionError("nothing is released here")

    def short(self, lease: int) -> bool:
        raise AssertionError("nothing is received here")

    def finished(self, route: int, ticket: int) -> bool:
        return ticket <= self.done[route]


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def peer() -> Peer:
    return Peer(STACK, APP, capacity=1000, role="app")


@pytest.fixture
def events(peer: Peer, port: Port) -> AppEvents:
    return AppEvents({APP: peer}, port)


def flow(handle: int) -> Flow:
    conn = Connection.passive(TcpConfig(), 0, 0, 1000, NO_OPTIONS, 0, Statistics())
    return Flow(handle, handle, conn, Header(handle, bytes(6), bytes(6), 1), APP, DRIVER)


def said(events: AppEvents, peer: Peer) -> list[tuple[int, list[int]]]:
    """Tags and payloads of what the application is told now."""
    events.flush()
    words, found = peer.waiting[tags.EVENTS], []
    while words:
        length = words[0] & 0x7F
        found.append((words[0] >> 16 & 0xFFFF, words[1 : 1 + length]))
        del words[: 1 + length]
    return found


def test_what_has_left_is_reported_at_once(events: AppEvents, peer: Peer, port: Port) -> None:
    one, other = flow(1), flow(2)
    one.on_its_way(DRIVER, 3)
    port.done[DRIVER] = 3
    events.sent(one, 100)
    events.sent(other, 50)
    assert said(events, peer) == [(tags.SENT, [1, 100, 2, 50])]


def test_what_is_still_on_its_way_is_reported_when_it_has_left(events: AppEvents, peer: Peer, port: Port) -> None:
    late, prompt = flow(1), flow(2)
    late.on_its_way(DRIVER, 3)
    events.sent(late, 100)
    events.dead(late, 1)
    events.sent(prompt, 50)
    assert said(events, peer) == [(tags.SENT, [2, 50])]
    port.done[DRIVER] = 2
    assert said(events, peer) == []
    port.done[DRIVER] = 3
    assert said(events, peer) == [(tags.SENT, [1, 100]), (tags.DEAD, [1, 1])]


def test_later_frames_do_not_hold_an_earlier_report(events: AppEvents, peer: Peer, port: Port) -> None:
    bulk = flow(1)
    bulk.on_its_way(DRIVER, 3)
    events.sent(bulk, 100)
    bulk.on_its_way(DRIVER, 4)
    port.done[DRIVER] = 3
    assert said(events, peer) == [(tags.SENT, [1, 100])]


def test_a_flow_that_changed_its_way_waits_for_both(events: AppEvents, peer: Peer, port: Port) -> None:
    moved = flow(1)
    moved.on_its_way(DRIVER, 3)
    moved.on_its_way(OTHER_DRIVER, 4)
    events.sent(moved, 100)
    port.done[OTHER_DRIVER] = 4
    assert said(events, peer) == []
    port.done[DRIVER] = 3
    assert said(events, peer) == [(tags.SENT, [1, 100])]
    events.sent(moved, 1)
    assert said(events, peer) == [(tags.SENT, [1, 1])]
    assert moved.earlier == []


def test_nothing_is_kept_for_an_application_that_is_gone(events: AppEvents, peer: Peer, port: Port) -> None:
    late = flow(1)
    late.on_its_way(DRIVER, 3)
    events.sent(late, 100)
    events.forget(APP)
    port.done[DRIVER] = 3
    assert said(events, peer) == []


def test_a_reset_connection_s_buffers_stay_until_the_driver_has_read_them() -> None:
    server = EchoServer()
    world = World(server.accept)
    visitor = world.connect()
    driver = world.chip.tiles[0]
    world.send(visitor, b"hello")
    world.pass_time(0.5)
    queued: list[int] = []
    stack_to_driver = world.chip.tiles[1].peers[0].waiting[tags.COMMANDS]
    server.handlers[0].connection.send(b"never to be read by a stranger")
    world.chip.apps[0].flush()
    app_to_stack = world.chip.tiles[2].peers[1]
    world.chip.tiles[1].queues.accept(world.chip.tiles[1].peers[2], app_to_stack.take())
    world.chip.stacks[0].drain()
    queued += stack_to_driver  # the segment waits: the driver is busy
    del stack_to_driver[:]
    world.act(visitor, "abort")
    assert server.handlers[0].ended == []
    assert world.chip.apps[0].sockets.memory.in_use == 1
    stack_to_driver += queued
    world.run()
    assert server.handlers[0].ended == [True]
    assert world.chip.leases() == 0
    assert not driver.faults.counts
