"""Malformed, truncated and hostile frames: the chip goes on, and gives every buffer back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlibos_node.nic.virtio import HEADER_LENGTH, MAX_FRAME, PLAIN
from dlibos_node.wire import arp, ethernet, icmp, ipv4
from tests.support.applications import EchoServer
from tests.support.chip import ADDRESS, MAC
from tests.support.world import CLIENT, World

MUTATIONS = 100_000


def ping(payload: bytes = b"abcdefgh", options: bytes = b"") -> bytes:
    message = icmp.Message(icmp.ECHO_REQUEST, 0, 1, 1, payload).emit()
    frame = bytearray(ethernet.LENGTH + ipv4.LENGTH)
    ethernet.Header(MAC, CLIENT.mac, ethernet.IPV4).emit(frame)
    ipv4.Header(CLIENT.address, ADDRESS, ipv4.ICMP, ipv4.LENGTH + len(message)).emit(frame, ethernet.LENGTH)
    return PLAIN + bytes(frame) + message


def who_has() -> bytes:
    head = ethernet.HEADER.pack(ethernet.BROADCAST, CLIENT.mac, ethernet.ARP)
    return PLAIN + head + arp.request(CLIENT.mac, CLIENT.address, ADDRESS).emit()


def session_frames() -> list[bytes]:
    """Record what a client says in a whole life: handshake, data, a big write, close, reset; and ARP, ping."""
    frames: list[bytes] = [ping(), who_has()]

    def record(frame: bytes) -> bool:
        frames.append(frame)
        return False

    world = World(EchoServer().accept, lose=record)
    for ending in ("shutdown", "abort"):
        visitor = world.connect()
        world.send(visitor, b"GET / HTTP/1.1\r\n\r\n")
        world.send(visitor, b"x" * 5000)
        world.act(visitor, ending)
    return frames


def mutate(roll: random.Random, frames: list[bytes]) -> bytes:
    """Return a real frame with a few bytes changed, cut off, lengthened or spliced with another."""
    frame = bytearray(roll.choice(frames))
    kind = roll.randrange(8)
    if kind == 0:
        return bytes(frame[: roll.randrange(len(frame))])
    if kind == 1:
        return bytes(frame) + roll.randbytes(roll.randrange(200))
    if kind == 2:
        other = roll.choice(frames)
        cut = roll.randrange(len(frame))
        return bytes(frame[:cut]) + other[cut:]
    for _ in range(roll.randrange(1, 6)):
        # Mostly in the headers, where decisions are made.
        frame[roll.randrange(min(len(frame), roll.choice((80, 80, 80, 5000))))] = roll.randrange(256)
    return bytes(frame)


def check_alive(world: World) -> None:
    """The chip serves, and holds nothing once all connections are gone."""
    visitor = world.connect()
    world.send(visitor, b"still there?")
    assert visitor.data == b"still there?"
    world.act(visitor, "shutdown")
    for stack in world.chip.stacks:
        for flow in stack.host.flows:
            stack.host.flows.abort(flow, world.now)
        stack.port.flush_releases()
    world.chip.settle()
    assert world.chip.leases() == 0


def test_a_hundred_thousand_mutated_frames_stop_nothing() -> None:
    roll = random.Random(2018)
    frames = session_frames()
    world = World(EchoServer().accept, drivers=2, stacks=2, apps=2, backlog=64, first_port=60_000)
    for number in range(MUTATIONS):
        world.chip.deliver(mutate(roll, frames), number % 2)
        if number % 500 == 499:
            world.chip.run()
            world.chip.transmitted()
            world.chip.clock.advance(0.5)
    world.chip.run()
    refused = sum(sum(stack.host.drops.values()) for stack in world.chip.stacks)
    assert refused > MUTATIONS // 10
    world.chip.transmitted()
    check_alive(world)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8), st.booleans())
def test_arbitrary_bytes_stop_nothing(payloads: list[bytes], addressed: bool) -> None:
    world = World(EchoServer().accept)
    for payload in payloads:
        world.chip.deliver(PLAIN + (MAC + CLIENT.mac + b"\x08\x00" if addressed else b"") + payload)
    world.chip.run()
    assert world.chip.leases() == 0
    check_alive(world)
    world.chip.close()


@pytest.mark.parametrize(
    "length", [HEADER_LENGTH, HEADER_LENGTH + 1, HEADER_LENGTH + 13, HEADER_LENGTH + 33, MAX_FRAME]
)
def test_frames_of_odd_lengths_stop_nothing(length: int) -> None:
    world = World(EchoServer().accept)
    world.chip.deliver((ping() + bytes(MAX_FRAME))[:length])
    world.chip.run()
    check_alive(world)


def test_an_echo_request_is_answered_with_its_payload() -> None:
    world = World(EchoServer().accept)
    world.chip.deliver(ping(b"payload of a ping"))
    world.chip.run()
    (frame,) = world.chip.transmitted()
    assert frame.endswith(b"payload of a ping")
    assert icmp.parse(frame[HEADER_LENGTH + 34 :]).kind == icmp.ECHO_REPLY  # type: ignore[union-attr]


def test_an_arp_request_is_heard_by_all_stacks_and_answered_once() -> None:
    world = World(EchoServer().accept, stacks=3)
    world.chip.deliver(who_has())
    world.chip.run()
    (frame,) = world.chip.transmitted()
    answer = arp.parse(frame, HEADER_LENGTH + ethernet.LENGTH)
    assert isinstance(answer, arp.Packet)
    assert (answer.operation, answer.sender, answer.sender_mac) == (arp.REPLY, ADDRESS, MAC)
    assert world.chip.leases() == 0
