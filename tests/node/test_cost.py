"""The measurement in one process: it drives real roles, honestly, and each part of protection is really switched."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dlibos_node.config import interface_address, mac_address
from dlibos_node.cost import __main__ as command
from dlibos_node.cost import mapping, measure, syscalls
from dlibos_node.cost.chip import ADDRESS, MAC, Chip, FusedChip, Switches
from dlibos_node.cost.client import OK, Clients
from dlibos_node.errors import MeasurementError

TINY = measure.Load(connections=3, turns=2)


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "index.html").write_bytes(measure.PAGE)
    return str(tmp_path)


@pytest.fixture(params=[*measure.STEPS, measure.FUSED])
async def chip(request: pytest.FixtureRequest, root: str) -> AsyncIterator[Chip | FusedChip]:
    made = FusedChip(root) if request.param == measure.FUSED else Chip(measure.STEPS[request.param], root)
    yield made
    made.close()


def clients_of(chip: Chip | FusedChip, count: int) -> Clients:
    return Clients(chip.wire, mac_address(MAC, "mac"), int(interface_address(ADDRESS, "address").ip), count)


async def test_every_variation_serves_the_page_to_everybody(chip: Chip | FusedChip) -> None:
    clients = clients_of(chip, 5)
    chip.run()
    for _ in range(3):
        assert clients.ask() == 5
        chip.run()
        assert len(chip.wire.sent) == 5
        assert all(OK in frame and frame.endswith(measure.PAGE) for frame in chip.wire.sent)
    assert chip.refused == 0


async def test_the_switches_switch_what_they_say(root: str) -> None:
    for switches in measure.STEPS.values():
        chip = Chip(switches, root)
        tile = chip.tiles[1]
        [read] = [p for p in tile.foreign.partitions.values() if p.number >> 6 == 0]
        assert read.view.readonly == switches.mapping
        assert any(tile.own.generations) == switches.leases
        # A release by a tile that never got the buffer is refused where leases are kept; nothing else looks at it.
        chip.close()


async def test_checks_refuse_what_is_not_the_sender_s(root: str) -> None:
    for name, refused in (("leased", 0), ("checked", 1)):
        chip = Chip(measure.STEPS[name], root)
        clients_of(chip, 1)
        chip.run()
        [flow] = chip._stack.host.flows
        own = chip.tiles[1].own.number << 48
        chip.tiles[2].peers[1].post(1, 17, flow.handle, 0, own)  # SEND of the stack's own memory
        chip.settle()
        assert chip.refused == refused
        chip.close()


async def test_an_answer_that_is_none_ends_the_measurement(root: str) -> None:
    chip = Chip(Switches(True, True, True), root)
    clients = clients_of(chip, 1)
    chip.run()
    clients.ask()
    chip.run()
    chip.wire.sent[0] = chip.wire.sent[0].replace(b"200", b"500")
    with pytest.raises(MeasurementError, match="the server sent"):
        clients.ask()
    chip.close()


def test_a_tiny_measurement_has_a_figure_for_every_variation(tmp_path: Path) -> None:
    rounds = measure.measure(2, TINY, 1, tmp_path)
    assert len(rounds) == 2
    assert all(set(one) == {*measure.STEPS, measure.FUSED} for one in rounds)
    assert all(value > 0 for one in rounds for value in one.values())


def test_mapping_is_paid_once(tmp_path: Path) -> None:
    found = mapping.measure(tmp_path)
    assert set(found) == {"make", "hand over"}
    assert all(set(modes) == {"protected", "unprotected"} for modes in found.values())
    assert all(value > 0 for modes in found.values() for value in modes.values())


def test_the_filter_is_tried_in_a_process_that_ends() -> None:
    found = syscalls.measure()
    assert set(found) == {"free", "filtered"}
    assert min(found.values()) > 0


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--rounds", "1", "--connections", "2", "--turns", "1", "--seed", "3"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["core"] in ("compiled", "pure Python")
    assert (data["connections"], data["seed"], len(data["us_per_request"])) == (2, 3, 1)
