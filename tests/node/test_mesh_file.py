"""The mesh file as a tile reads it: defaults, and one clear line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlibos_node import config
from dlibos_node.errors import ConfigurationError

MESH: dict[str, Any] = {
    "id": "m",
    "width": 2,
    "height": 2,
    "domains": [{"name": "a", "ports": [80]}],
    "tiles": [{"tile": 0, "role": "ROLE_DRIVER"}, {"tile": 3, "role": "ROLE_APP", "domain": 1}],
}


def write(path: Path, **changes: Any) -> Path:
    file = path / "mesh.json"
    file.write_text(json.dumps({**MESH, **changes}))
    return file


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    mesh, tile = config.load(write(tmp_path, tunables={"backlog": 7}), 3)
    assert tile.tile == 3
    assert mesh.tunables.backlog == 7
    assert mesh.tunables.buckets == 4160


def test_a_tunable_may_be_0_where_the_contract_allows_it(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, tunables={"moderation_us": 0}), 0)[0].tunables.moderation_us == 0


@pytest.mark.parametrize("name", config.TUNABLES)
def test_every_tunable_has_bounds_with_its_default_between_them(tmp_path: Path, name: str) -> None:
    bounds = config.TUNABLES[name]
    assert bounds.least <= bounds.default_value <= bounds.most
    with pytest.raises(ConfigurationError, match=rf"tunables.{name} is {bounds.most + 1}: use \d+ to {bounds.most}$"):
        config.load(write(tmp_path, tunables={name: bounds.most + 1}), 0)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"colour": 1}, 'no field named "colour"'),
        ({"width": "wide"}, "mesh.json"),
        ({"tiles": []}, "has 0 entries for tile 0"),
        ({"tiles": [{"tile": 0, "role": "ROLE_DRIVER"}] * 2}, "has 2 entries for tile 0"),
        ({"tiles": [{"tile": 0}]}, "tile 0 has no role: one of idle, driver, stack, app, fused"),
        ({"width": 1, "height": 1}, "tile 3 is outside the 1x1 mesh"),
        ({"domains": []}, "has 0 domains: it needs 1 to 61"),
        ({"domains": [{"name": "a", "ports": [80, 70000]}]}, "domain a has port 70000"),
        ({"domains": [{"name": n, "ports": [80]} for n in "ab"]}, "domains a and b both have port 80"),
        ({"tiles": [{"tile": 0, "role": "ROLE_APP", "domain": 2}]}, "tile 0 is in domain 2, which is not there"),
        ({"tunables": {"queue_words": 10}}, "tunables.queue_words is 10: use 256 to 1048576"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        config.load(write(tmp_path, **changes), 0)


def test_a_mesh_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is the mesh up"):
        config.load(tmp_path / "mesh.json", 0)


@pytest.mark.parametrize("text", ["", "10.77.0.300/24", "fe80::1/64", "10.77.0.2/33"])
def test_an_address_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"nic\.address"):
        config.interface_address(text, "nic.address")


@pytest.mark.parametrize("text", ["", "02:00", "02:00:00:00:00:0g", "02:00:00:00:00:00:01"])
def test_an_ethernet_address_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"nic\.mac"):
        config.mac_address(text, "nic.mac")
