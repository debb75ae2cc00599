"""What the profiles name, and what they leave out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_node import config
from dlibos_node.hardening.profile import DESCRIPTORS, Profile, own_places, profile, status_file

DIRECTORY = Path("/run/mesh")


def tile(number: int, role: mesh_pb2.Role.ValueType, host: str = "") -> mesh_pb2.Tile:
    address = f"{host}:{7000 + number}" if host else f"unix:{DIRECTORY}/noc/{number}/sock"
    entry = mesh_pb2.Tile(tile=number, role=role, address=address)
    if not host:
        entry.memory = f"{DIRECTORY}/mem/{number}/sock"
    return entry


def profile_of(number: int, host: str = "") -> Profile:
    mesh = mesh_pb2.Mesh()
    roles = (mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK, mesh_pb2.ROLE_APP, mesh_pb2.ROLE_IDLE)
    for each, role in enumerate(roles):
        mesh.tiles.append(tile(each, role, host))
    mesh.tiles[2].app.root = "/srv/www"
    return profile(mesh, mesh.tiles[number], DIRECTORY)


@pytest.mark.parametrize("number", range(4))
def test_on_one_host_no_tile_has_the_internet(number: int) -> None:
    found = profile_of(number)
    assert not found.inet
    assert (found.rules.bind, found.rules.connect) == ((), ())


def test_tiles_of_several_hosts_reach_each_others_ports_and_no_others() -> None:
    found = profile_of(1, host="node-7")
    assert found.inet
    assert found.rules.bind == (7001,)
    assert found.rules.connect == (7000, 7002, 7003)
    assert Path("/etc/resolv.conf") in found.rules.read
    assert Path("/etc/resolv.conf") not in profile_of(1).rules.read


def test_a_tile_writes_in_its_own_directories_only() -> None:
    places = [set(profile_of(number).rules.own) for number in range(4)]
    assert places[3] == {DIRECTORY / room / "3" for room in ("status", "noc", "mem")}
    assert not places[0] & places[1] | places[2] & places[3]
    assert status_file(tile(3, mesh_pb2.ROLE_IDLE), DIRECTORY).parent in places[3]
    assert own_places(tile(3, mesh_pb2.ROLE_IDLE, "node-7"), DIRECTORY) == (DIRECTORY / "status" / "3",)


def test_only_applications_read_the_web_root_and_nobody_the_meshs_directory() -> None:
    roots = [Path("/srv/www") in profile_of(number).rules.read for number in range(4)]
    assert roots == [False, False, True, False]
    for number in range(4):
        readable = profile_of(number).rules.read
        assert not [path for path in readable if DIRECTORY.is_relative_to(path)]


def test_python_can_still_import() -> None:
    readable = profile_of(0).rules.read
    for module in (os, pytest):
        assert any(Path(str(module.__file__)).is_relative_to(path) for path in readable)
    assert Path(sys.prefix) not in readable


def test_every_role_has_its_descriptors() -> None:
    assert set(DESCRIPTORS) == set(config.ROLES.values()) - {"fused"}, "a fused tile keeps nothing apart"


def test_only_a_driver_with_a_kernel_device_attaches_queues() -> None:
    mesh = mesh_pb2.Mesh(nic=mesh_pb2.Nic(kind=mesh_pb2.NIC_KIND_TAP))
    entries = [tile(number, role) for number, role in enumerate((mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_STACK))]
    assert [profile(mesh, entry, DIRECTORY).queue for entry in entries] == [True, False]
    mesh.nic.kind = mesh_pb2.NIC_KIND_USER
    assert not profile(mesh, entries[0], DIRECTORY).queue
