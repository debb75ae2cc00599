"""Tiles for `dlibos attack`: what a passive driver has for a device, and which tiles a suite makes drain."""

from __future__ import annotations

from pathlib import Path

from dlibos.control.v1 import mesh_pb2

from dlibos_node import assembly
from dlibos_node.nic.memory import MemoryDevice
from dlibos_orchestrator.attack import stage
from dlibos_orchestrator.model.desired import desired_mesh


async def test_a_passive_driver_has_no_wire() -> None:
    mesh = mesh_pb2.Mesh(nic=mesh_pb2.Nic(kind=mesh_pb2.NIC_KIND_TAP, mtu=1500))
    tile = mesh.tiles.add(tile=1, role=mesh_pb2.ROLE_DRIVER, passive=True)
    device = await assembly.open_device(mesh, tile, None)
    assert isinstance(device, MemoryDevice)
    assert device.transmit([bytes(100)])
    assert device.receive([memoryview(bytearray(100))]) == 0
    device.close()


def test_compromised_drivers_and_stacks_take_no_part_in_the_traffic(tmp_path: Path) -> None:
    options = stage.options("protected", tmp_path)
    options.check()
    mesh = desired_mesh(options, mesh_pb2.NIC_KIND_TAP, tmp_path, "id")
    assert {tile.tile for tile in mesh.tiles if tile.passive} == {1, 3}
    assert options.compromised == {1, 3, 5}
    assert [tile.domain for tile in mesh.tiles] == [0, 0, 0, 0, 1, 2]
