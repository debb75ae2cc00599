"""Dialling a real network: under a stolen number, with a wrong key, by a recording."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_node.attack.answer import OK, Answer, Order, Step
from dlibos_node.attack.dial import Caller, repeat
from dlibos_node.identity import Credentials
from dlibos_node.noc.peer import Peer
from tests.support.ends import MESH, End
from tests.support.keys import credentials

STACK, APP, ATTACKER = 2, 4, 5
MESH_FILE = mesh_pb2.Mesh(id=MESH)


@pytest.fixture(params=[True, False], ids=["protected", "unprotected"])
async def stack(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[End]:
    """A stack tile that knows two application tiles."""
    end = End(STACK, tmp_path, credentials(STACK, APP, ATTACKER) if request.param else None)
    for number in (APP, ATTACKER):
        end.network.peers[number] = Peer(STACK, number, capacity=8192)
    await end.network.serve(end.address)
    yield end
    await end.network.close()


def tile_of(end: End) -> mesh_pb2.Tile:
    return mesh_pb2.Tile(tile=end.number, address=end.address)


@pytest.mark.parametrize("keys", [None, credentials(ATTACKER, STACK)], ids=["without a key", "with its own"])
async def test_a_stolen_number_is_a_link_only_where_nobody_asks_for_proof(
    stack: End, keys: Credentials | None, request: pytest.FixtureRequest
) -> None:
    answer = await Caller(MESH_FILE, APP, keys).join(tile_of(stack))
    if "unprotected" in request.node.name:
        assert answer == Answer((Step("dial", OK),), True, "the link was up")
        assert stack.changes[0]
    else:
        assert answer.steps == (Step("dial", "UNAUTHENTICATED"),)
        assert stack.changes == []
        assert not answer.reached


async def test_a_recorded_handshake_is_good_once(stack: End, request: pytest.FixtureRequest) -> None:
    caller = Caller(MESH_FILE, ATTACKER, credentials(ATTACKER, STACK))
    assert (await caller.join(tile_of(stack))).reached
    order = Order.of({"recorded": [frame.hex() for frame in caller.said]})
    answer = await repeat(stack.address, order)
    expected = OK if "unprotected" in request.node.name else "UNAUTHENTICATED"
    assert answer.steps == (Step("dial", expected),)


async def test_another_mesh_is_refused_in_any_mode(stack: End) -> None:
    answer = await Caller(MESH_FILE, APP, None).join(tile_of(stack), "another")
    assert answer.steps == (Step("dial", "FAILED_PRECONDITION"),)
