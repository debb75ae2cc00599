"""A fused tile serves as a mesh does, by calls where a mesh has messages, and gives every buffer back."""

from __future__ import annotations

import random

import pytest

from dlibos_node.apps.web.server import WebServer
from dlibos_node.memory.fault import Fault
from dlibos_node.nic.device import Drop as Loss
from dlibos_node.nic.virtio import HEADER_LENGTH
from dlibos_node.noc import message, tags
from dlibos_node.roles import rx
from dlibos_node.roles.driver import Drop
from dlibos_node.roles.fused import Inbox, LocalPeers
from dlibos_node.wire import arp, ethernet
from tests.support.applications import EchoServer
from tests.support.chip import ADDRESS, MAC, ManualClock
from tests.support.fused import FusedWorld
from tests.support.world import CLIENT


@pytest.fixture
def world() -> FusedWorld:
    return FusedWorld(EchoServer().accept)


def test_many_connections_are_answered_and_leave_no_buffer(world: FusedWorld) -> None:
    visitors = [world.connect() for _ in range(100)]
    for turn in range(5):
        for number, visitor in enumerate(visitors):
            world.send(visitor, b"%d of %d" % (turn, number))
    assert [bytes(visitor.data) for visitor in visitors] == [
        b"".join(b"%d of %d" % (turn, number) for turn in range(5)) for number in range(100)
    ]
    for visitor in visitors:
        world.act(visitor, "shutdown")
    world.pass_time(1.0)
    assert all(visitor.peer_has_closed for visitor in visitors)
    assert len(world.chip.app.sockets) == 0
    assert world.chip.leases() == 0
    assert world.chip.faults.total == 0


def test_large_payload_goes_both_ways(world: FusedWorld) -> None:
    visitor, data = world.connect(), random.Random(1).randbytes(300_000)
    world.send(visitor, data)
    world.pass_time(2.0)
    assert bytes(visitor.data) == data
    assert world.chip.leases() == 0


def test_what_the_wire_loses_is_sent_again() -> None:
    draw = random.Random(2)
    world = FusedWorld(EchoServer().accept, lose=lambda _frame: draw.random() < 0.1)
    visitor, data = world.connect(), draw.randbytes(50_000)
    world.pass_time(3.0)
    world.send(visitor, data)
    world.pass_time(60.0)
    assert bytes(visitor.data) == data
    assert world.chip.stack.host.flows.tcp_statistics.retransmits > 0
    assert world.chip.leases() == 0


def test_web_pages_are_served() -> None:
    world = FusedWorld(WebServer(None, ManualClock()).accept)
    visitor = world.connect()
    for _ in range(3):
        world.send(visitor, b"GET / HTTP/1.1\r\nHost: mesh\r\n\r\n")
    assert visitor.data.count(b"HTTP/1.1 200 OK") == 3


def test_a_reset_ends_the_application_s_connection(world: FusedWorld) -> None:
    visitor = world.connect()
    world.send(visitor, b"hello")
    world.act(visitor, "abort")
    assert len(world.chip.app.sockets) == 0
    assert world.chip.leases() == 0


def test_arp_is_answered(world: FusedWorld) -> None:
    request = arp.Packet(arp.REQUEST, CLIENT.mac, CLIENT.address, bytes(6), ADDRESS)
    head = ethernet.HEADER.pack(b"\xff" * 6, CLIENT.mac, ethernet.ARP)
    world.chip.deliver(bytes(HEADER_LENGTH) + head + request.emit())
    world.chip.run()
    [answer] = world.chip.transmitted()
    reply = arp.parse(memoryview(answer)[HEADER_LENGTH + ethernet.LENGTH :])
    assert isinstance(reply, arp.Packet)
    assert (reply.operation, reply.sender_mac) == (arp.REPLY, MAC)
    assert world.chip.leases() == 0


def test_a_runt_is_counted_and_its_buffer_free(world: FusedWorld) -> None:
    world.chip.deliver(bytes(HEADER_LENGTH + 5))
    world.chip.run()
    assert world.chip.driver.drops[Drop.RUNT] == 1
    assert world.chip.leases() == 0


def test_a_frame_the_device_does_not_take_is_counted(world: FusedWorld) -> None:
    visitor = world.connect()
    world.chip.devices[0].close()
    world.chip.stack.host.flows.abort(next(iter(world.chip.stack.host.flows)), world.now)
    assert world.chip.driver.drops[Drop.DEVICE] == 1
    assert world.chip.devices[0].statistics.drops[Loss.GONE] == 1
    assert visitor.reason is None


def test_receive_buffers_run_short_when_half_are_held(world: FusedWorld) -> None:
    port, [memory] = world.chip.stack.port, world.chip.driver.memory.memories.values()
    lease = memory.small.number << 48
    held = [memory.small.take() for _ in range(rx.SMALL_COUNT // 2)]
    assert not port.short(lease)
    held.append(memory.small.take())
    assert port.short(lease)
    for slot in held:
        memory.small.put(slot)
    assert not port.short(lease)


def test_the_application_s_messages_are_read_where_it_wrote_them() -> None:
    peers = LocalPeers()
    inbox = Inbox(peers.app_to_stack)
    waited = [inbox.waits]
    peers.app_to_stack.post(tags.COMMANDS, tags.CLOSE, 7)
    peers.app_to_stack.post(tags.COMMANDS, tags.SEND, 8, 1, 2)
    waited.append(inbox.waits)
    assert inbox.drain(tags.EVENTS) == []
    source = message.MAX_TILE - 1
    assert inbox.drain(tags.COMMANDS) == [(source, tags.CLOSE, [7]), (source, tags.SEND, [8, 1, 2])]
    assert [*waited, inbox.waits] == [False, True, False]


def test_nothing_is_checked_and_nothing_refused(world: FusedWorld) -> None:
    visitor = world.connect()
    world.send(visitor, b"x")
    assert sum(world.chip.faults.checked.kinds().values()) == 0
    assert world.chip.faults.counts.get((Fault.ROLE, 0)) is None
