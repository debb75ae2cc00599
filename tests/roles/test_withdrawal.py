"""A driver tile leaves a chip with another one, and the connections go on."""

from __future__ import annotations

import pytest

from dlibos_node.memory import descriptor
from dlibos_node.memory.partition import Partition
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.roles.tx import HEADER_SIZE, TxPort
from dlibos_node.roles.withdrawal import LEASES, POLL
from dlibos_node.tcp.span import Span
from tests.support.applications import EchoServer
from tests.support.world import Visitor, World

LEAVING, STAYING, STACK = range(3)


class Leaving:
    """Two drivers and open connections; frames come in by both in turn."""

    def __init__(self, visitors: int = 8, drivers: int = 2) -> None:
        self.server = EchoServer()
        self.world = World(self.server.accept, drivers=drivers)
        self.chip = self.world.chip
        self.visitors = [self.world.connect() for _ in range(visitors)]
        self.driver = self.chip.drivers[LEAVING]

    def say(self, words: bytes) -> None:
        for visitor in self.visitors:
            self.world.send(visitor, words)

    def sent(self, driver: int) -> int:
        return self.chip.devices[driver].statistics.tx_frames

    def has_retired(self) -> bool:
        return self.driver.retired

    def retire(self) -> None:
        self.driver.retire()
        self.world.run()


def heard(visitors: list[Visitor]) -> set[bytes]:
    return {bytes(visitor.data) for visitor in visitors}


def test_what_is_sent_leaves_by_the_driver_that_stays() -> None:
    chip = Leaving()
    chip.say(b"before ")
    assert not chip.has_retired()
    chip.retire()
    before = chip.sent(LEAVING)
    chip.say(b"after")  # the kernel has not noticed: half of it comes in by the driver that leaves
    assert chip.sent(LEAVING) == before
    assert heard(chip.visitors) == {b"before after"}
    chip.world.attached = [STAYING]
    chip.world.pass_time(POLL)
    assert chip.has_retired()
    assert chip.chip.stacks[0].port.unroutable == 0
    chip.chip.disconnect(LEAVING)
    chip.say(b", and on")
    assert heard(chip.visitors) == {b"before after, and on"}
    chip.world.pass_time(0.1)
    assert chip.chip.leases() == 0


def test_what_waits_in_the_queue_is_handed_on_before_it_is_detached() -> None:
    chip = Leaving()
    chip.world.attached = [LEAVING]
    for visitor in chip.visitors:
        assert visitor.flow is not None
        visitor.flow.connection.send(Span(b"last", 0, 4), chip.world.now)
        chip.world.client.settle(visitor.flow, chip.world.now)
    frames = chip.chip.devices[LEAVING].statistics
    waiting = frames.rx_frames
    chip.driver.retire()
    chip.chip.settle()
    assert frames.rx_frames == waiting + len(chip.visitors)
    chip.world.run()
    assert heard(chip.visitors) == {b"last"}


def test_the_only_driver_goes_on_sending() -> None:
    chip = Leaving(drivers=1)
    chip.retire()
    chip.say(b"there is no other way")
    assert heard(chip.visitors) == {b"there is no other way"}


def test_it_waits_for_its_buffers_but_not_for_ever() -> None:
    chip = Leaving(visitors=1)
    chip.world.attached = [LEAVING]
    chip.server.handlers[0].connection.pause()
    chip.say(b"unread")
    chip.retire()
    chip.world.pass_time(LEASES / 2, step=0.1)
    assert not chip.has_retired()
    chip.world.pass_time(LEASES / 2 + 1, step=0.1)
    assert chip.has_retired()
    assert chip.driver.memory.in_use == 1


def test_a_buffer_that_comes_back_lets_it_go() -> None:
    chip = Leaving(visitors=1)
    chip.world.attached = [LEAVING]
    chip.server.handlers[0].connection.pause()
    chip.say(b"unread")
    chip.retire()
    chip.world.attached = [STAYING]
    chip.server.handlers[0].connection.resume()
    chip.chip.apps[0].flush()
    chip.world.run()
    chip.world.pass_time(2 * POLL)
    assert chip.has_retired()
    assert heard(chip.visitors) == {b"unread"}


def test_a_stack_tile_that_dies_is_not_waited_for() -> None:
    chip = Leaving()
    chip.driver.retire()  # WITHDRAW lies in the queue
    chip.chip.disconnect(STACK)
    chip.world.pass_time(POLL)
    assert chip.has_retired()


def test_a_stack_tile_that_comes_up_meanwhile_is_told() -> None:
    chip = Leaving()
    chip.retire()
    stack = chip.chip.tiles[LEAVING].peers[STACK]
    stack.lost()
    chip.driver.changed(stack)
    stack.connected([8192] * 4)
    chip.driver.changed(stack)
    assert stack.waiting[tags.EVENTS] == [stack.header(tags.WITHDRAW, tags.EVENTS, 0)]


def test_to_be_told_again_is_nothing() -> None:
    chip = Leaving()
    chip.retire()
    chip.driver.retire()
    assert chip.chip.tiles[LEAVING].peers[STACK].waiting[tags.EVENTS] == []


def test_flows_of_a_dead_driver_go_on_by_another() -> None:
    chip = Leaving()
    chip.world.attached = [LEAVING]
    chip.say(b"one ")
    chip.chip.disconnect(LEAVING)
    chip.world.attached = [STAYING]
    answered = chip.server.handlers[0].connection.send(b"two")  # its last frame came by the dead driver
    chip.chip.apps[0].flush()
    chip.world.run()
    assert answered
    assert chip.visitors[0].data == b"one two"
    assert chip.chip.stacks[0].port.unroutable == 0


class TestPort:
    """The stack tile's way out, alone."""

    @pytest.fixture
    def port(self) -> TxPort:
        return TxPort(Partition.create(descriptor.partition_number(STACK, descriptor.TX_INDEX)))

    @pytest.fixture
    def drivers(self, port: TxPort) -> list[Peer]:
        peers = [Peer(STACK, number, capacity=1 << 20, role="driver") for number in (LEAVING, STAYING)]
        for peer in peers:
            peer.connected([1 << 20] * 4)
            port.attach(peer)
        return peers

    def test_the_way_is_the_last_one_while_it_is_there(self, port: TxPort, drivers: list[Peer]) -> None:
        assert [port.way(peer.number, 0) for peer in drivers] == [LEAVING, STAYING]
        port.withdraw(LEAVING)
        assert [port.way(peer.number, 0) for peer in drivers] == [STAYING, STAYING]
        port.detach(STAYING)
        assert port.way(LEAVING, 0) == LEAVING, "the only one that is left"

    def test_flows_of_one_that_has_gone_are_spread_over_the_others(self, port: TxPort, drivers: list[Peer]) -> None:
        third = Peer(STACK, 7, capacity=100, role="driver")
        port.attach(third)
        port.detach(LEAVING)
        even_ports = range(40_000, 40_100, 2)
        ways = [port.way(LEAVING, 0x0A4D0001 << 32 | client << 16 | 80) for client in even_ports]
        assert sorted({way: ways.count(way) for way in ways}.values()) == [25, 25]
        assert set(ways) == {STAYING, 7}

    def test_a_ticket_is_of_the_way_that_was_taken(self, port: TxPort, drivers: list[Peer]) -> None:
        first = port.transmit(LEAVING, bytes(54), (), 0)
        port.withdraw(LEAVING)
        second = port.transmit(port.way(LEAVING, 0), bytes(54), (), 0)
        assert not port.finished(LEAVING, first)
        assert not port.finished(STAYING, second)
        assert port.done(LEAVING, 1)
        assert port.finished(LEAVING, first)
        assert not port.finished(STAYING, second)
        assert port.done(STAYING, 1)
        assert port.finished(STAYING, second)

    def test_withdrawn_is_said_behind_what_waited_for_a_buffer(self, port: TxPort, drivers: list[Peer]) -> None:
        count = 0
        while True:
            port.transmit(STAYING, bytes(HEADER_SIZE), (), 0)
            count += 1
            if port.in_use < count:
                break  # the last one waits: there is no buffer
        port.transmit(LEAVING, bytes(HEADER_SIZE), (), 0)
        port.withdraw(LEAVING)
        commands = drivers[LEAVING].waiting[tags.COMMANDS]
        assert commands == []
        assert port.done(STAYING, 2)
        withdrawn = drivers[LEAVING].header(tags.WITHDRAWN, tags.COMMANDS, 0)
        assert commands[-1] == withdrawn
        assert len(commands) == 5, "the frame, of four words, and the answer"

    def test_a_driver_that_is_back_is_used_again(self, port: TxPort, drivers: list[Peer]) -> None:
        port.withdraw(LEAVING)
        port.attach(drivers[LEAVING])
        assert port.way(LEAVING, 0) == LEAVING
