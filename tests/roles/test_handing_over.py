"""Connections change hands between application tiles, and their clients notice nothing."""

from __future__ import annotations

import random

import pytest

from dlibos_node.apps.web.server import WebServer
from dlibos_node.memory.fault import Fault
from dlibos_node.noc import tags
from dlibos_node.roles.app import App
from dlibos_node.roles.stack import Drop
from dlibos_node.stack.ports import Drop as HostDrop
from tests.support.applications import Echo, EchoServer, Recorder
from tests.support.world import Visitor, World

DRIVER, STACK, OLD, NEW = range(4)
REQUEST = b"GET / HTTP/1.1\r\nHost: mesh\r\n\r\n"


class Pair:
    """An old application tile that has one connection, and a new one beside it."""

    def __init__(self, apps: int = 2) -> None:
        self.old, self.new = Recorder(), Recorder()
        self.world = World(self.old.accept, apps=apps)
        self.chip = self.world.chip
        self.answers: list[bool] = []
        for app in self.chip.apps[1:]:
            app.sockets.retire()  # the connection is the old one's
        self.world.run()
        self.visitor = self.world.connect()
        for app in self.chip.apps[1:]:
            app.sockets.retiring = False
            app.sockets.listen(80, self.new.accept)
            app.open()
            app.flush()
        self.world.run()

    def hand_over(self) -> None:
        self.old.link.hand_over(self.answers.append)
        self.chip.apps[0].flush()
        self.world.run()

    def answer(self, app: Recorder, words: bytes) -> None:
        assert app.link.send(words)
        for role in self.chip.apps:
            role.flush()
        self.world.run()


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_an_idle_connection_changes_hands(pair: Pair) -> None:
    pair.hand_over()
    assert pair.old.calls == ["closed"]
    assert pair.new.link.peer == ("10.77.0.1", 50_000)
    pair.world.send(pair.visitor, b"question")
    pair.answer(pair.new, b"answer")
    assert [pair.old.data, pair.new.data, pair.visitor.data] == [b"", b"question", b"answer"]
    assert pair.visitor.reason is None
    pair.world.pass_time(0.2)
    assert pair.chip.leases() == 0
    assert pair.chip.stacks[0].hand_overs.done == 1


def test_one_that_is_answered_waits_for_the_ack_and_loses_nothing(pair: Pair) -> None:
    pair.world.send(pair.visitor, b"first")
    assert pair.old.link.send(b"one")
    pair.hand_over()  # the client delays its ACK until it has something to say
    assert pair.old.calls == ["received"]
    pair.world.send(pair.visitor, b"second")
    assert pair.old.calls[-1] == "closed"
    assert [pair.old.data, pair.new.data] == [b"first", b"second"]
    pair.answer(pair.new, b", two")
    assert pair.visitor.data == b"one, two"
    pair.world.pass_time(0.2)
    assert pair.chip.leases() == 0


def test_without_another_tile_it_stays_and_goes_on() -> None:
    pair = Pair(apps=1)
    pair.hand_over()
    assert pair.answers == [True]
    pair.world.send(pair.visitor, b"x")
    pair.answer(pair.old, b"y")
    assert [pair.old.data, pair.visitor.data] == [b"x", b"y"]


def test_what_came_before_the_refusal_is_delivered_behind_it(pair: Pair) -> None:
    pair.world.send(pair.visitor, b"first")
    pair.old.link.send(b"one")
    pair.hand_over()
    pair.chip.disconnect(NEW)
    pair.world.send(pair.visitor, b"second")
    assert pair.answers == [True]
    assert pair.old.data == b"firstsecond"
    pair.world.pass_time(0.2)
    assert pair.chip.leases() == 0


def test_one_that_the_client_closes_stays(pair: Pair) -> None:
    pair.old.link.send(b"unacknowledged")
    pair.hand_over()
    pair.world.act(pair.visitor, "shutdown")  # its FIN acknowledges
    assert pair.answers == [False]
    assert "eof" in pair.old.calls
    assert pair.new.calls == []


def test_one_that_dies_meanwhile_is_told_as_ever(pair: Pair) -> None:
    pair.old.link.send(b"unacknowledged")
    pair.hand_over()
    pair.world.act(pair.visitor, "abort")
    assert pair.old.calls[-1] == "reset"
    assert pair.answers == []
    assert not pair.chip.stacks[0].hand_overs.waiting


def test_a_tile_that_dies_while_it_hands_over_resets_its_own(pair: Pair) -> None:
    pair.old.link.send(b"unacknowledged")
    pair.hand_over()
    pair.chip.disconnect(OLD)
    pair.world.run()
    assert pair.visitor.reason is not None
    assert not pair.chip.stacks[0].hand_overs.waiting


def test_the_last_words_of_the_old_tile_reach_nobody(pair: Pair) -> None:
    (flow,) = pair.chip.stacks[0].host.flows
    handle = flow.handle
    pair.hand_over()
    pair.chip.tiles[OLD].peers[STACK].post(tags.COMMANDS, tags.ABORT, handle)
    pair.world.run()
    assert pair.visitor.reason is None
    assert pair.chip.stacks[0].drops[Drop.CLOSED] == 1
    assert not pair.chip.faults()


def test_nobody_gives_away_what_is_not_his(pair: Pair) -> None:
    (flow,) = pair.chip.stacks[0].host.flows
    pair.chip.tiles[NEW].peers[STACK].post(tags.COMMANDS, tags.HAND_OVER, flow.handle)
    pair.world.run()
    assert pair.chip.faults() == {(Fault.CONNECTION, NEW): 1}
    assert flow.app == OLD


def test_nobody_closes_the_port_of_another_domain() -> None:
    server = EchoServer()
    world = World(server.accept, apps=2, domains=(80, 81))
    ports = {app: world.chip.ports[app % 2] for app in (OLD, NEW)}
    world.chip.tiles[OLD].peers[STACK].post(tags.COMMANDS, tags.UNLISTEN, ports[NEW])
    world.run()
    assert world.chip.faults() == {(Fault.PORT, OLD): 1}
    assert world.connect(ports[NEW]).reason is None


class TestRetire:
    """Whole tiles that retire."""

    def test_new_connections_go_to_those_who_stay(self) -> None:
        server, other = EchoServer(), EchoServer()
        world = World(server.accept, apps=2)
        world.chip.apps[1].sockets.listen(80, other.accept)
        world.chip.apps[0].retire()
        world.run()
        visitors = [world.connect() for _ in range(6)]
        assert all(visitor.reason is None for visitor in visitors)
        assert (len(server.handlers), len(other.handlers)) == (0, 6)
        assert world.chip.apps[0].retired

    def test_a_connection_that_opens_meanwhile_goes_to_those_who_stay(self) -> None:
        server, other = EchoServer(), EchoServer()
        dropping = [True]
        world = World(server.accept, apps=2, lose=lambda frame: dropping[0] and bool(frame[57] & 0x10))
        world.chip.apps[1].sockets.listen(80, other.accept)
        visitors = [world.connect() for _ in range(6)]  # their SYN is answered, and the answer lost
        world.chip.apps[0].retire()
        world.run()
        assert world.chip.apps[0].retired
        dropping[0] = False
        world.pass_time(5, step=0.1)
        assert all(visitor.flow is not None and visitor.reason is None for visitor in visitors)
        assert (len(server.handlers), len(other.handlers)) == (0, 6)

    def test_it_is_not_retired_while_a_connection_is_left(self) -> None:
        server = EchoServer()
        world = World(server.accept)
        visitor = world.connect()
        app = world.chip.apps[0]
        app.retire()
        world.run()
        assert not has_retired(app)
        world.send(visitor, b"still here")
        assert visitor.data == b"still here"
        world.act(visitor, "shutdown")
        world.pass_time(1)
        assert has_retired(app)
        world.connect()
        drops = world.chip.stacks[0].host.drops
        assert drops[HostDrop.NOT_LISTENING] == 1, "nobody serves the port any more; another tile may come"

    def test_a_stack_tile_that_comes_up_is_not_told_to_send_connections(self) -> None:
        world = World(EchoServer().accept)
        app, stack = world.chip.apps[0], world.chip.tiles[OLD].peers[STACK]
        app.retire()
        world.run()
        stack.lost()
        app.changed(stack)
        stack.connected([8192] * 4)
        app.changed(stack)
        assert stack.waiting[tags.COMMANDS] == []
        assert app.retired

    def test_the_web_server_parts_between_two_requests(self) -> None:
        world = World(EchoServer().accept, apps=2)
        servers = [WebServer(None, world.chip.clock) for _ in range(2)]
        for app, server in zip(world.chip.apps, servers, strict=True):
            app.sockets.listen(80, server.accept, server.retire)
        visitors = [world.connect() for _ in range(10)]
        for visitor in visitors[:6]:
            world.send(visitor, REQUEST)
        world.chip.apps[0].retire()
        world.run()
        for _ in range(3):
            for visitor in visitors:
                world.send(visitor, REQUEST)
        world.pass_time(0.2)
        assert world.chip.apps[0].retired
        assert servers[1].statistics.open == 10
        for visitor, count in zip(visitors, [4] * 6 + [3] * 4, strict=True):
            assert visitor.data.count(b"HTTP/1.1 200 OK") == count
            assert b"Connection: close" not in visitor.data
            assert not visitor.peer_has_closed
        assert world.chip.leases() == 0

    @pytest.mark.parametrize("seed", range(6))
    def test_a_busy_tile_is_left_over_a_bad_wire_and_not_a_byte_is_lost(self, seed: int) -> None:
        chance = random.Random(seed)
        servers = [PartingServer() for _ in range(3)]
        world = World(servers[0].accept, lose=lambda _frame: chance.random() < 0.03, apps=3, drivers=2)
        for app, server in zip(world.chip.apps, servers, strict=True):
            app.sockets.listen(80, server.accept, server.retire)
        visitors = [world.connect() for _ in range(12)]
        said = {visitor: bytearray() for visitor in visitors}
        for turn in range(30):
            if turn in (8, 16):
                world.chip.apps[turn // 8 - 1].retire()
            for visitor in visitors:
                said[visitor] += (words := chance.randbytes(chance.choice((10, 2_000, 30_000))))
                world.send(visitor, words)
            world.pass_time(0.05, step=0.05)
        _until_all_is_back(world, said)
        assert {bytes(visitor.data) for visitor in visitors} == {bytes(words) for words in said.values()}
        assert [app.retired for app in world.chip.apps] == [True, True, False]
        assert [len(app.sockets) for app in world.chip.apps] == [0, 0, 12]
        assert world.chip.leases() == 0
        assert not world.chip.faults()


def has_retired(app: App) -> bool:
    return app.retired


def _until_all_is_back(world: World, said: dict[Visitor, bytearray]) -> None:
    for _ in range(400):
        world.pass_time(0.5, step=0.1)
        echoed = all(len(visitor.data) == len(words) for visitor, words in said.items())
        if echoed and world.chip.leases() == 0 and all(app.retired for app in world.chip.apps[:2]):
            return


class Parting(Echo):
    """An echo that parts when it has given back all it was given."""

    parting = False

    def received(self, data: memoryview) -> None:
        super().received(data)
        self.part()

    def sent(self) -> None:
        super().sent()
        self.part()

    def part(self) -> None:
        if self.parting and not self.backlog:
            self.connection.hand_over(lambda _alone: None)


class PartingServer:
    def __init__(self) -> None:
        self.handlers: list[Parting] = []
        self.retiring = False

    def accept(self, connection: object) -> Parting:
        handler = Parting(connection)  # type: ignore[arg-type]
        self.handlers.append(handler)
        handler.parting = self.retiring
        handler.part()
        return handler

    def retire(self) -> None:
        self.retiring = True
        for handler in self.handlers:
            handler.parting = True
            handler.part()
