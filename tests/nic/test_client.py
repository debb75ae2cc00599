"""The in-memory client host on a clock that the test moves: demultiplexing, refusals, timers, hostile frames."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from dlibos_node.nic.user.answer import IP, Link, Unwanted
from dlibos_node.nic.user.client import Client, Flow
from dlibos_node.nic.virtio import HEADER_LENGTH, PLAIN, tcp4_header
from dlibos_node.stack.flow import Header
from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import SECOND
from dlibos_node.tcp.segment import NO_SPANS, Segment
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER
from dlibos_node.wire import ethernet, ipv4, tcp
from dlibos_node.wire.buffer import Buffer
from tests.nic.frames import CLIENT, CLIENT_MAC, MESH, MESH_MAC

PORTS = range(20000, 20004)
START = IP + ipv4.LENGTH


class World:
    """A client, the frames it sent, when it wants to be woken, and what its one handler was told."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.deadline = NEVER
        self.told: list[object] = []
        link = Link(CLIENT, CLIENT_MAC, MESH, MESH_MAC)
        self.client = Client(link, PORTS, self._deliver, self._wake)

    def _deliver(self, parts: Sequence[Buffer]) -> None:
        self.frames.append(b"".join(parts))

    def _wake(self, deadline: int) -> None:
        self.deadline = deadline

    def received(self, data: memoryview, now: int) -> None:
        self.told.append(bytes(data))

    def acknowledged(self) -> None:
        self.told.append("acknowledged")

    def peer_closed(self) -> None:
        self.told.append("peer closed")

    def closed(self, reason: int) -> None:
        self.told.append(reason)

    def segments(self) -> list[tcp.Header]:
        """Return, and forget, the headers of the TCP segments sent."""
        headers = [tcp.parse(frame, START) for frame in self.frames]
        self.frames.clear()
        return [header for header in headers if isinstance(header, tcp.Header)]


def frame(port: int, seq: int, ack: int, flags: int, payload: bytes = b"", *, mesh_port: int = 80) -> bytes:
    header = Header(CLIENT << 32 | port << 16 | mesh_port, MESH_MAC, CLIENT_MAC, MESH)
    spans = [Span(payload, 0, len(payload))] if payload else NO_SPANS
    head = header.pack(Segment(seq, ack, flags, 60000, b"", spans, len(payload), 1460))
    return tcp4_header(True, 0, len(head)) + head + payload


def established(world: World) -> tuple[Flow, int]:
    """Open a flow; return it and the sequence number it goes on with. The mesh goes on with 501."""
    flow = world.client.connect(80, world, 0)
    assert flow
    (syn,) = world.segments()
    ours = (syn.seq + 1) % (1 << 32)
    world.client.on_frame(frame(flow.port, 500, ours, tcp.SYN | tcp.ACK), 10)
    assert flow.connection.state == state.ESTABLISHED
    world.segments()
    return flow, ours


def test_connect_and_receive() -> None:
    world = World()
    flow, ours = established(world)
    world.client.on_frame(frame(flow.port, 501, ours, tcp.ACK | tcp.PSH, b"hello"), 20)
    world.client.on_frame(frame(flow.port, 506, ours, tcp.ACK | tcp.FIN), 30)
    assert world.told == [b"hello", "peer closed"]


def test_syn_is_repeated_when_the_timer_says_so() -> None:
    world = World()
    world.client.connect(80, world, 0)
    (first,) = world.segments()
    assert 0 < world.deadline <= SECOND
    world.client.on_timer(world.deadline - 1)
    assert world.segments() == []
    world.client.on_timer(world.deadline)
    (second,) = world.segments()
    assert (second.seq, second.flags) == (first.seq, tcp.SYN)
    assert world.deadline > SECOND


def test_mesh_that_never_answers() -> None:
    world = World()
    world.client.connect(80, world, 0)
    while not world.told:
        world.client.on_timer(world.deadline)
    assert world.told == [event.TIMEOUT]


def test_refused() -> None:
    world = World()
    flow = world.client.connect(80, world, 0)
    assert flow
    (syn,) = world.segments()
    world.client.on_frame(frame(flow.port, 0, (syn.seq + 1) % (1 << 32), tcp.RST | tcp.ACK), 10)
    assert world.told == [event.REFUSED]


def test_ports_run_out_and_come_back() -> None:
    world = World()
    flows = [world.client.connect(80, world, 0) for _ in PORTS]
    assert sorted(flow.port for flow in flows if flow) == list(PORTS)
    assert world.client.connect(80, world, 0) is None
    last = world.segments()[-1].seq
    flow = flows[-1]
    assert flow
    flow.connection.abort(0)
    world.client.settle(flow, 0)
    again = world.client.connect(80, world, 0)
    assert again
    assert again.port == flow.port
    (syn,) = world.segments()
    assert 0 < (syn.seq - last) % (1 << 32) < 1 << 31  # a SYN the mesh takes for a new one, even in TIME-WAIT


@pytest.mark.parametrize(
    ("flags", "seq", "ack", "answer"),
    [(tcp.ACK, 5, 9, (tcp.RST, 9, 0)), (tcp.SYN, 5, 0, (tcp.RST | tcp.ACK, 0, 6)), (tcp.RST, 5, 9, None)],
)
def test_no_connection(flags: int, seq: int, ack: int, answer: tuple[int, int, int] | None) -> None:
    world = World()
    world.client.on_frame(frame(PORTS[0], seq, ack, flags), 0)
    assert [(sent.flags, sent.seq, sent.ack) for sent in world.segments()] == ([answer] if answer else [])
    assert world.client.unwanted[Unwanted.NO_CONNECTION] == 1


def test_another_drivers_port_is_left_alone() -> None:
    world = World()
    world.client.on_frame(frame(PORTS[-1] + 1, 5, 9, tcp.ACK), 0)
    assert world.frames == []


def test_same_port_of_the_mesh_only() -> None:
    world = World()
    flow, ours = established(world)
    world.client.on_frame(frame(flow.port, 501, ours, tcp.ACK, b"forged", mesh_port=81), 20)
    assert world.told == []
    assert [sent.flags for sent in world.segments()] == [tcp.RST]


def test_bad_checksum_is_noticed_where_the_device_does_not_vouch() -> None:
    world = World()
    flow, ours = established(world)
    partial = frame(flow.port, 501, ours, tcp.ACK, b"hello")
    world.client.on_frame(PLAIN + partial[HEADER_LENGTH:], 20)
    broken = bytearray(partial)
    broken[IP + ipv4.TTL] ^= 1
    world.client.on_frame(bytes(broken), 20)
    assert world.client.unwanted == {Unwanted.CHECKSUM: 2}
    assert world.told == []


def test_abort_resets_and_refuses() -> None:
    world = World()
    established(world)
    world.client.abort(20)
    assert [sent.flags & tcp.RST for sent in world.segments()] == [tcp.RST]
    assert world.told == [event.RESET]
    assert world.client.connect(80, world, 30) is None


def test_random_frames_raise_nothing() -> None:
    rng = random.Random(7)
    world = World()
    flow, ours = established(world)
    seeds = [
        frame(flow.port, 501, ours, tcp.ACK, bytes(100)),
        frame(flow.port, 501, ours, tcp.SYN | tcp.ACK),
        PLAIN + ethernet.HEADER.pack(CLIENT_MAC, MESH_MAC, ethernet.ARP) + bytes(28),
    ]
    for now in range(20_000):
        hostile = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 6)):
            hostile[rng.randrange(len(hostile))] = rng.randrange(256)
        world.client.on_frame(bytes(hostile[: rng.randrange(len(hostile) + 1)]) if now % 3 else bytes(hostile), now)
        world.frames.clear()
    assert world.client.unwanted.keys() >= {Unwanted.MALFORMED, Unwanted.CHECKSUM, Unwanted.NOT_FOR_US}
