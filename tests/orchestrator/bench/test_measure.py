from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server

from dlibos_orchestrator.bench.measure import NocCounts, around, parse_noc
from dlibos_orchestrator.errors import MeshStateError
from dlibos_orchestrator.runtime.directory import MeshDirectory
from tests.orchestrator.bench.legs import row

TEXT = """\
# HELP dlibos_noc_messages_received_total NoC messages, counted where they arrive.
# TYPE dlibos_noc_messages_received_total counter
dlibos_noc_messages_received_total{tile="1",role="stack",source="0",source_role="driver"} 100.0
dlibos_noc_messages_received_total{tile="1",role="stack",source="2",source_role="app"} 200.0
# TYPE dlibos_noc_hops_total counter
dlibos_noc_hops_total{tile="1",role="stack",source="0",source_role="driver"} 1.5e+03
# TYPE dlibos_noc_frames_received_total counter
dlibos_noc_frames_received_total{tile="1",role="stack",source="0",source_role="driver"} 7.0
# TYPE dlibos_noc_frames_sent_total counter
dlibos_noc_frames_sent_total{tile="1",role="stack",destination="0",destination_role="driver"} 9.0
"""


@pytest.fixture
def directory(tmp_path: Path) -> MeshDirectory:
    (tmp_path / "log").mkdir()
    return MeshDirectory(tmp_path)


@pytest.fixture
def tile() -> Iterator[tuple[Counter, int]]:
    """The messages a tile has received from tile 0, and the port of its metrics."""
    registry = CollectorRegistry()
    counter = Counter("dlibos_noc_messages_received", "as a tile has it", ("source",), registry=registry)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield counter, server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_counters_are_summed_over_their_sources() -> None:
    assert parse_noc(TEXT) == NocCounts(messages=300, frames=7, hops=1500)


def test_counters_that_are_not_there_are_zero() -> None:
    assert parse_noc("") == NocCounts(0, 0, 0)


def test_what_a_tile_did_is_what_changed_meanwhile(tile: tuple[Counter, int], directory: MeshDirectory) -> None:
    counter, port = tile
    counter.labels("0").inc(1000)

    def load() -> str:
        counter.labels("0").inc(40)
        counter.labels("2").inc(2)
        return "done"

    answer, [use] = around(directory, [row(1, "stack", os.getpid(), port)], load)
    assert answer == "done"
    assert (use.tile, use.role, use.messages, use.frames, use.hops) == (1, "stack", 42, 0, 0)
    assert use.cpu_seconds >= 0


def test_a_tile_that_is_gone_is_named_with_its_last_words(directory: MeshDirectory) -> None:
    directory.log_file("tile-1").write_text("joined\nout of memory\n")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        lost = row(1, "stack", os.getpid(), bound.getsockname()[1])
        with pytest.raises(MeshStateError, match=r"tile 1 \(stack\) .*refused; its log ended with: out of memory; "):
            around(directory, [lost], lambda: None)
