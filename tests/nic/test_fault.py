"""Faults: reproducible, at the asked rate, per wire packet, noticed by the receiver, and nothing held for ever."""

from __future__ import annotations

import select

import pytest

from dlibos_node.errors import ConfigurationError
from dlibos_node.nic.fault import Fault, Rates
from dlibos_node.nic.virtio import PLAIN
from tests.nic.frames import Wire, arp_frame, is_sound, number_of, numbered, receive, tcp_frame


def make(rates: Rates, seed: int = 1) -> tuple[Wire, Fault]:
    wire = Wire()
    return wire, Fault(wire, seed, rates)


def readable(fault: Fault) -> bool:
    return bool(select.select([fault], [], [], 0)[0])


def drain(fault: Fault) -> list[bytes]:
    """Read as a driver does, as long as the descriptor asks for it."""
    frames = []
    while readable(fault):
        while frame := receive(fault):
            frames.append(frame)
    return frames


def exchange(rates: Rates, seed: int, count: int) -> tuple[list[int], list[int]]:
    """Send `count` numbered frames both ways; return the numbers that came through, received and sent."""
    wire, fault = make(rates, seed)
    for number in range(count):
        wire.deliver([numbered(number)])
        fault.transmit([numbered(number)])
    received = [number_of(frame) for frame in drain(fault)]
    sent = [number_of(frame) for frame in wire.sent]
    fault.close()
    wire.close()
    return received, sent


def test_no_faults() -> None:
    assert exchange(Rates(), 1, 100) == (list(range(100)), list(range(100)))


def test_same_seed_same_faults() -> None:
    rates = Rates(0.1, 0.1, 0.1, 0.1)
    assert exchange(rates, 7, 300) == exchange(rates, 7, 300)
    assert exchange(rates, 7, 300) != exchange(rates, 8, 300)
    received, sent = exchange(rates, 7, 300)
    assert received != sent


def test_rates_hold_over_seeds() -> None:
    received = [exchange(Rates(loss=0.1), seed, 500) for seed in range(10)]
    for direction in (0, 1):
        arrived = sum(len(lists[direction]) for lists in received)
        assert 0.88 < arrived / 5000 < 0.92  # 0.9 within five standard deviations


def test_one_rate_does_not_move_the_others() -> None:
    lost = set(range(300)) - set(exchange(Rates(loss=0.1), 3, 300)[1])
    both = set(range(300)) - set(exchange(Rates(loss=0.1, duplicate=0.3), 3, 300)[1])
    assert lost == both


def test_duplicates() -> None:
    received, sent = exchange(Rates(duplicate=1.0), 1, 10)
    assert received == sent == [number for number in range(10) for _ in range(2)]


@pytest.mark.parametrize("seed", range(5))
def test_reordering_loses_nothing(seed: int) -> None:
    received, sent = exchange(Rates(reorder=0.3), seed, 200)
    for numbers in (received, sent):
        assert sorted(numbers) == list(range(200))
        assert numbers != list(range(200))
        assert max(abs(number - index) for index, number in enumerate(numbers)) == 1


def test_held_packets_leave_at_the_next_receive() -> None:
    wire, fault = make(Rates(reorder=1.0))
    fault.transmit([numbered(1)])
    wire.deliver([numbered(2)])
    assert not wire.sent
    assert receive(fault) == b""  # held
    assert number_of(wire.sent.pop()) == 1
    assert readable(fault)
    assert number_of(receive(fault)) == 2
    assert not readable(fault)
    assert fault.rx.counts.reordered == fault.tx.counts.reordered == 0
    fault.close()


def test_corruption_is_always_noticed() -> None:
    wire, fault = make(Rates(corrupt=1.0))
    for number in range(300):
        fault.transmit([numbered(number)])
        wire.deliver([numbered(number)])
    received = drain(fault)
    assert len(received) == len(wire.sent) == 300
    for frame in [*received, *wire.sent]:
        assert frame[:10] == PLAIN
        assert not is_sound(frame)
    assert fault.tx.counts.corrupted == fault.rx.counts.corrupted == 300
    fault.close()


def test_corrupted_frame_without_a_checksum_is_dropped() -> None:
    wire, fault = make(Rates(corrupt=1.0))
    assert fault.transmit([arp_frame()])
    assert not wire.sent
    assert fault.tx.counts.corrupted == 1
    fault.close()


def test_long_segments_are_wire_packets() -> None:
    wire, fault = make(Rates(loss=0.5), seed=2)
    frame = tcp_frame(bytes(1448 * 40), gso_size=1448)
    assert fault.transmit([frame[:66], frame[66:]])
    wire.deliver([frame])
    received = drain(fault)
    assert fault.tx.counts.packets == fault.rx.counts.packets == 40
    for frames, lane in ((received, fault.rx), (wire.sent, fault.tx)):
        assert len(frames) == 40 - lane.counts.lost
        assert 0 < len(frames) < 40
        assert {len(packet) for packet in frames} == {10 + 14 + 1500}
    fault.close()


def test_readable_while_packets_wait() -> None:
    wire, fault = make(Rates())
    assert not readable(fault)
    wire.deliver([tcp_frame(bytes(3000), gso_size=1448)])
    for _ in range(3):
        assert readable(fault)
        assert receive(fault)
    assert not readable(fault)
    fault.close()


def test_device_that_refuses() -> None:
    _, fault = make(Rates())
    assert not fault.transmit([PLAIN])
    fault.close()
    fault.close()
    assert not fault.transmit([arp_frame()])
    assert receive(fault) == b""


@pytest.mark.parametrize("rates", [Rates(loss=1.5), Rates(reorder=-0.1), Rates(corrupt=float("nan"))])
def test_rates_are_probabilities(rates: Rates) -> None:
    wire = Wire()
    with pytest.raises(ConfigurationError, match="give a number from 0 to 1"):
        Fault(wire, 1, rates)
    wire.close()
