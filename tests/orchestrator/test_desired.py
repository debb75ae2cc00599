from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from google.protobuf import json_format

from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.desired import counts, desired_mesh, same_counts, same_frame
from dlibos_orchestrator.model.options import Domain, Faults, MeshOptions, Published
from dlibos_orchestrator.model.placement import coordinates, place
from dlibos_orchestrator.model.spec import spec_of

DIRECTORY = Path("/run/m")


def test_one_tile_of_each_role_lies_in_the_first_row() -> None:
    roles = place(MeshOptions())
    assert [mesh_pb2.Role.Name(role) for role in roles.values()] == ["ROLE_DRIVER", "ROLE_STACK", "ROLE_APP"]
    assert list(roles) == [0, 1, 2]


def test_idle_tiles_get_the_first_free_places() -> None:
    roles = place(MeshOptions(idle=2))
    assert [tile for tile, role in roles.items() if role == mesh_pb2.ROLE_IDLE] == [3, 4]


def test_a_fused_mesh_is_placed_row_by_row() -> None:
    roles = place(MeshOptions(protection="fused", driver=2, idle=1))
    assert [mesh_pb2.Role.Name(role) for role in roles.values()] == ["ROLE_FUSED", "ROLE_FUSED", "ROLE_IDLE"]
    assert list(roles) == [0, 1, 2]


def test_tile_ids_are_row_major() -> None:
    assert [coordinates(tile, 3) for tile in range(5)] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]


def test_every_tile_gets_sockets_of_its_own_and_apps_get_their_application() -> None:
    options = MeshOptions(root=Path("/srv"))
    mesh = desired_mesh(options, mesh_pb2.NIC_KIND_TAP, DIRECTORY, "default-1")
    assert [tile.address for tile in mesh.tiles] == [f"unix:/run/m/noc/{tile}/sock" for tile in range(3)]
    assert [tile.memory for tile in mesh.tiles] == [f"/run/m/mem/{tile}/sock" for tile in range(3)]
    assert [tile.app.kind for tile in mesh.tiles] == ["", "", "web"]
    assert mesh.tiles[2].app.root == "/srv"
    assert [tile.domain for tile in mesh.tiles] == [0, 0, 1]
    assert [(domain.name, list(domain.ports)) for domain in mesh.domains] == [("default", [80])]
    assert mesh.protection == mesh_pb2.PROTECTION_PROTECTED


def test_application_tiles_are_shared_out_over_the_domains() -> None:
    options = MeshOptions(domain=(Domain("a", app=2), Domain("b", port=81, root=Path("/srv"))))
    mesh = desired_mesh(options, mesh_pb2.NIC_KIND_TAP, DIRECTORY, "m-1")
    apps = [tile for tile in mesh.tiles if tile.role == mesh_pb2.ROLE_APP]
    assert [tile.domain for tile in apps] == [1, 1, 2]
    assert [tile.app.port for tile in apps] == [80, 80, 81]
    assert [tile.app.root for tile in apps] == ["", "", "/srv"]
    assert {tile.domain for tile in mesh.tiles if tile not in apps} == {0}
    assert [list(domain.ports) for domain in mesh.domains] == [[80], [81]]


def test_a_fused_mesh_has_tiles_that_do_everything() -> None:
    mesh = desired_mesh(MeshOptions(protection="fused", driver=2), mesh_pb2.NIC_KIND_TAP, DIRECTORY, "m-1")
    assert [(tile.role, tile.domain, tile.app.kind) for tile in mesh.tiles] == [(mesh_pb2.ROLE_FUSED, 1, "web")] * 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (MeshOptions(domain=(Domain("a"), Domain("b"))), "domains a and b both use port 80"),
        (MeshOptions(domain=(Domain("a"), Domain("a", port=81))), "two domains have the same name"),
        (MeshOptions(domain=(Domain("a", app=0),)), "domain a has no app tile"),
        (MeshOptions(domain=(Domain("a", kind="mail"),)), "unknown kind of application 'mail'"),
        (MeshOptions(protection="fused", domain=(Domain("a"), Domain("b", port=81))), "keeps no two domains apart"),
    ],
)
def test_domains_that_cannot_be_are_named(options: MeshOptions, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        options.check()


def test_the_nic_says_all_a_driver_needs() -> None:
    options = MeshOptions(
        publish=(Published("127.0.0.1", 8080, 80),), pcap=Path("/var/p"), fault=Faults(seed=3, loss=0.5)
    )
    nic = desired_mesh(options, mesh_pb2.NIC_KIND_TAP, DIRECTORY, "m-1").nic
    assert nic.keeper == "/run/m/nic.sock"
    assert (nic.address, nic.peer_address, nic.mtu) == ("10.77.0.2/24", "10.77.0.1/24", 1500)
    assert [(port.host, port.host_port, port.mesh_port) for port in nic.publish] == [("127.0.0.1", 8080, 80)]
    assert nic.pcap == "/var/p"
    assert (nic.fault.seed, nic.fault.loss) == (3, 0.5)


def test_no_keeper_and_no_fault_unless_asked_for() -> None:
    nic = desired_mesh(MeshOptions(), mesh_pb2.NIC_KIND_USER, DIRECTORY, "m-1").nic
    assert nic.keeper == ""
    assert not nic.HasField("fault")


def test_only_the_tunables_that_were_asked_for_are_said() -> None:
    mesh = desired_mesh(MeshOptions(tune={"moderation_us": 0}), mesh_pb2.NIC_KIND_USER, DIRECTORY, "m-1")
    assert [(field.name, value) for field, value in mesh.tunables.ListFields()] == [("moderation_us", 0)]
    assert not same_frame(mesh, desired_mesh(MeshOptions(), mesh_pb2.NIC_KIND_USER, DIRECTORY, "m-1"))


def test_the_frame_of_a_mesh_is_the_same_whatever_its_id_and_tiles_and_through_json() -> None:
    one = desired_mesh(MeshOptions(), mesh_pb2.NIC_KIND_TAP, DIRECTORY, "m-1")
    other = desired_mesh(MeshOptions(app=2, stack=3), mesh_pb2.NIC_KIND_TAP, DIRECTORY, "m-2")
    assert same_frame(json_format.Parse(json_format.MessageToJson(one), mesh_pb2.Mesh()), other)
    assert (one.id, other.id) == ("m-1", "m-2")
    other.epoch += 1
    assert same_frame(one, other)
    for options in (MeshOptions(root=Path("/srv")), MeshOptions(protection="unprotected"), MeshOptions(width=7)):
        assert not same_frame(one, desired_mesh(options, mesh_pb2.NIC_KIND_TAP, DIRECTORY, "m-1"))


def test_buckets_are_dealt_out_to_stacks_that_take_part() -> None:
    options = MeshOptions(driver=1, stack=3, tune={"buckets": 5})
    first, second, third = (tile for tile, role in place(options).items() if role == mesh_pb2.ROLE_STACK)
    options = replace(options, compromised=frozenset({second}))
    mesh = desired_mesh(options, mesh_pb2.NIC_KIND_TAP, DIRECTORY, "m-1")
    assert mesh.owners == bytes([first, third, first, third, first])
    assert (mesh.epoch, mesh.bus) == (1, str(DIRECTORY / "bus" / "sock"))
    assert len(desired_mesh(MeshOptions(), mesh_pb2.NIC_KIND_TAP, DIRECTORY, "m-1").owners) == 4160
    fused = desired_mesh(MeshOptions(protection="fused"), mesh_pb2.NIC_KIND_TAP, DIRECTORY, "m-1")
    assert fused.owners == b""


def test_what_was_asked_for_is_compared_by_counts() -> None:
    domains = (Domain("a", port=80, app=1), Domain("b", port=81, app=2))
    spec = spec_of(MeshOptions(driver=2, stack=3, idle=4, domain=domains))
    assert counts(spec) == "2 driver, 3 stack, 1+2 app, 4 idle"
    later = orchestrator_pb2.Spec()
    later.CopyFrom(spec)
    later.version += 1
    assert same_counts(spec, later)
    later.app[1] += 1
    assert not same_counts(spec, later)
    assert not same_counts(
        spec, spec_of(MeshOptions(driver=2, stack=3, idle=4, domain=domains, compromised=frozenset({1})))
    )
