"""Two cores over a bad wire: the bytes arrive, every lease comes back, both sides close."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlibos_node.tcp import event, state
from dlibos_node.tcp.config import TcpConfig
from tests.tcp.pair import Host, Pair, Wire


def data_of(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def closed(host: Host) -> bool:
    return host.connection is not None and host.connection.state == state.CLOSED


def assert_transferred(client: Host, server: Host) -> None:
    assert bytes(server.received) == client.data
    assert bytes(client.received) == server.data
    for host in (client, server):
        assert closed(host)
        assert host.acked == len(host.data)
        assert sorted(host.names()) == ["CLOSED", "ESTABLISHED", "PEER_CLOSED"]
        assert host.names()[-1] == "CLOSED"
        assert host.outstanding() == []


def test_clean_wire_loses_nothing_and_retransmits_nothing() -> None:
    client, server = Host(data_of(300_000, 1), 10_000), Host(data_of(1_000_000, 2), 64_000)
    Pair(client, server, Wire()).run()
    assert_transferred(client, server)
    for host in (client, server):
        assert host.connection is not None
        assert host.connection.statistics.retransmits == 0
        assert host.connection.statistics.dropped() == {}


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("seed", range(6))
def test_transfer_survives_loss(seed: int, loss: float) -> None:
    client, server = Host(data_of(60_000, seed), 5_000), Host(data_of(120_000, seed + 1), 30_000)
    Pair(client, server, Wire(seed, loss, 0.02, 3_000)).run()
    assert_transferred(client, server)


@pytest.mark.parametrize("seed", range(4))
def test_transfer_survives_reordering_and_duplication(seed: int) -> None:
    client, server = Host(data_of(80_000, seed), 100), Host(data_of(80_000, seed + 1), 9_000)
    Pair(client, server, Wire(seed, 0.0, 0.3, 20_000)).run()
    assert_transferred(client, server)


@pytest.mark.parametrize("gso_max", [0, 65_000])
@pytest.mark.parametrize("buffer", [500, 3_000, 20_000, 100_000, 3_000_000])
def test_transfer_through_any_window(buffer: int, gso_max: int) -> None:
    client, server = Host(data_of(50_000, 3), 7_000), Host(data_of(50_000, 4), 50_000)
    config = TcpConfig(receive_buffer=buffer, gso_max=gso_max)
    Pair(client, server, Wire(buffer, 0.02), config, config).run()
    assert_transferred(client, server)


def test_slow_reader_closes_the_window_and_gets_everything() -> None:
    chance = random.Random(9)
    client, server = Host(data_of(200_000, 5), 20_000), Host(b"", 1)
    server.appetite = lambda: chance.choice([0, 0, 0, 10, 1_000, 20_000])
    pair = Pair(client, server, Wire(9, 0.02), None, TcpConfig(receive_buffer=8_000))
    pair.run()
    assert_transferred(client, server)


configs = st.builds(
    TcpConfig,
    mss=st.sampled_from([100, 536, 1460, 8960]),
    receive_buffer=st.sampled_from([300, 5_000, 70_000, 2_000_000]),
    send_buffer=st.sampled_from([1_000, 30_000, 1_000_000]),
    gso_max=st.sampled_from([0, 5_000, 65_000]),
    max_held_spans=st.sampled_from([0, 2, 256]),
    nodelay=st.booleans(),
)
wires = st.builds(
    Wire,
    seed=st.integers(0, 1 << 30),
    loss=st.sampled_from([0.0, 0.02, 0.2]),
    duplicate=st.sampled_from([0.0, 0.1]),
    jitter=st.sampled_from([0, 500, 30_000]),
)


@settings(max_examples=60, deadline=None)
@given(configs, configs, wires, st.integers(0, 20_000), st.integers(0, 20_000), st.integers(1, 9_000))
def test_any_two_configurations_over_any_wire(
    client_config: TcpConfig, server_config: TcpConfig, wire: Wire, up: int, down: int, chunk: int
) -> None:
    client, server = Host(data_of(up, 1), chunk), Host(data_of(down, 2), chunk)
    Pair(client, server, wire, client_config, server_config).run(1 << 36)
    for host, other in ((client, server), (server, client)):
        assert closed(host)
        assert host.data.startswith(other.received)
        if "TIMEOUT" not in endings(client) + endings(server):
            assert bytes(other.received) == host.data


def endings(host: Host) -> list[str]:
    return [event.REASONS[detail] for kind, detail in host.log if kind == event.CLOSED and isinstance(detail, int)]
