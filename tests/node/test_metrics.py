"""The metrics of a chip that has served: they are there, they add up, and the reference lists them all."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.core import Metric

from dlibos_node.apps.web.server import WebServer
from dlibos_node.greeting import Refusal
from dlibos_node.metrics import TileCollector, listen, serve
from tests.support.chip import ManualClock
from tests.support.world import World

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@pytest.fixture(scope="module")
def families() -> dict[str, dict[str, Metric]]:
    """Families by role and name after ten requests."""
    server = WebServer(None, ManualClock())
    world = World(server.accept)
    visitor = world.connect()
    for _ in range(10):
        world.send(visitor, b"GET / HTTP/1.1\r\nHost: mesh\r\n\r\n")
    found: dict[str, dict[str, Metric]] = {}
    for tile, role in zip(world.chip.tiles, ("driver", "stack", "app"), strict=True):
        collector = TileCollector(tile.number, role, tile.queues, tile.peers, tile.faults)
        collector.watch_protection("protected", {"descriptor": 1e-6, "lease": 2e-6})
        if role == "driver":
            collector.watch_driver(world.chip.drivers[0])
        elif role == "stack":
            collector.watch_stack(world.chip.stacks[0])
        else:
            collector.watch_app(world.chip.apps[0], server.statistics)
        found[role] = {family.name: family for family in collector.collect()}
    return found


def total(family: Metric, **labels: str) -> float:
    return sum(s.value for s in family.samples if all(s.labels[name] == value for name, value in labels.items()))


def test_requests_are_counted_on_their_way(families: dict[str, dict[str, Metric]]) -> None:
    assert total(families["app"]["dlibos_requests"]) == 10
    assert total(families["app"]["dlibos_responses"], status="2xx") == 10
    assert total(families["stack"]["dlibos_connections"]) == 1
    assert total(families["driver"]["dlibos_nic_frames"], direction="in") >= 12  # handshake, requests
    assert total(families["stack"]["dlibos_noc_messages_received"], source="0") >= 12
    assert total(families["app"]["dlibos_noc_messages_received"], source="1") >= 20


def test_checks_are_counted_by_kind_and_have_their_price(families: dict[str, dict[str, Metric]]) -> None:
    checks = {role: family["dlibos_protection_checks"] for role, family in families.items()}
    # Each request is an RX descriptor, a RECV, a SEND, and a TX of header and payload.
    assert total(checks["stack"], kind="descriptor") >= 20
    assert total(checks["stack"], kind="connection") >= 20  # SEND and RECV_DONE
    assert total(checks["app"], kind="descriptor") == 10
    assert total(checks["driver"], kind="descriptor") >= 20
    assert total(checks["driver"], kind="lease") >= 12
    assert total(checks["app"], kind="role") == total(families["app"]["dlibos_noc_messages_received"])
    for role in ("driver", "app"):
        seconds = families[role]["dlibos_protection_check_cpu_seconds"]
        assert total(seconds, kind="descriptor") == pytest.approx(total(checks[role], kind="descriptor") * 1e-6)
        assert total(seconds, kind="lease") == pytest.approx(total(checks[role], kind="lease") * 2e-6)


def test_the_mode_is_one_of_three(families: dict[str, dict[str, Metric]]) -> None:
    mode = families["stack"]["dlibos_protection_mode"]
    assert (total(mode), total(mode, mode="protected"), total(mode, mode="fused")) == (1, 1, 0)


def test_every_sample_names_its_tile_and_role(families: dict[str, dict[str, Metric]]) -> None:
    for number, (role, metrics) in enumerate(families.items()):
        for family in metrics.values():
            assert family.documentation.endswith(".")
            for sample in family.samples:
                assert (sample.labels["tile"], sample.labels["role"]) == (str(number), role)


def test_the_reference_lists_exactly_what_there_is(families: dict[str, dict[str, Metric]]) -> None:
    real = {
        family.name + ("_total" if family.type == "counter" else "")
        for metrics in families.values()
        for family in metrics.values()
    }
    assert set(re.findall(r"^\| `(dlibos_\w+)`", REFERENCE.read_text(), re.MULTILINE)) == real


def test_who_was_refused_the_tile_s_memory_is_among_its_drops() -> None:
    world = World(WebServer(None, ManualClock()).accept)
    tile = world.chip.tiles[0]
    collector = TileCollector(0, "driver", tile.queues, tile.peers, tile.faults)
    collector.watch_driver(world.chip.drivers[0])
    collector.watch_handover(Counter({Refusal.PROOF: 3}))
    drops = [family for family in collector.collect() if family.name == "dlibos_drops"]
    assert [total(family, room="handover", reason="wrong_proof") for family in drops] == [3]


def test_metrics_are_served_over_http() -> None:
    world = World(WebServer(None, ManualClock()).accept)
    tile = world.chip.tiles[0]
    server = listen(TileCollector(0, "driver", tile.queues, tile.peers, tile.faults), "127.0.0.1", 0)
    serve(server)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            assert b"dlibos_noc_links_up" in answer.read()
    finally:
        server.shutdown()
        server.server_close()
