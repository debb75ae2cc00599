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
    roles = {role: mesh_pb2.Role.Value(f"ROLE_{role.upper()}") for role in stage.COMPROMISED}
    assert {tile.tile for tile in mesh.tiles if tile.passive} == {
        stage.COMPROMISED["driver"],
        stage.COMPROMISED["stack"],
    }
    assert options.compromised == set(stage.COMPROMISED.values())
    by_tile = {tile.tile: tile for tile in mesh.tiles}
    assert {by_tile[tile].role for tile in stage.HONEST} == set(roles.values())
    assert {role: by_tile[tile].role for role, tile in stage.COMPROMISED.items()} == roles
    assert [by_tile[tile].domain for tile in (stage.APPLICATION, stage.COMPROMISED["app"])] == [1, 2]
    assert by_tile[stage.DRIVER].role == mesh_pb2.ROLE_DRIVER
