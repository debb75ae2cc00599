from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.cli import values
from dlibos_orchestrator.model.options import Faults, Published


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("2s", 2.0), ("1.5s", 1.5), ("2m", 120.0)])
def test_durations(text: str, seconds: float) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("8080:80", Published("127.0.0.1", 8080, 80)),
        ("127.0.0.2:8080:80", Published("127.0.0.2", 8080, 80)),
        ("localhost:1:65535", Published("127.0.0.1", 1, 65535)),
    ],
)
def test_published_ports(text: str, published: Published) -> None:
    assert values.published(text) == published


def test_faults() -> None:
    assert values.faults("loss=0.01,seed=3,reorder=1") == Faults(seed=3, loss=0.01, reorder=1.0)


def test_tunables() -> None:
    assert values.tunables("moderation_us=0,backlog=64") == {"moderation_us": 0, "backlog": 64}


def test_every_tunable_of_the_contract_can_be_set_to_its_bounds() -> None:
    for name, field in values.TUNABLES.items():
        bounds = field.GetOptions().Extensions[mesh_pb2.bounds]
        assert values.tunables(f"{name}={bounds.least}") == {name: bounds.least}
        assert values.tunables(f"{name}={bounds.most}") == {name: bounds.most}


def test_mesh_sizes() -> None:
    assert values.mesh_size("8x4") == (8, 4)


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (values.count, "-1", "expected a number"),
        (values.count, "²", "expected a number"),
        (values.duration, "10", "such as 500ms"),
        (values.duration, "1h", "such as 500ms"),
        (values.mesh_size, "6", "such as 6x6"),
        (values.published, "80", "such as 8080:80"),
        (values.published, "0:80", "1 to 65535"),
        (values.published, "8080:65536", "1 to 65535"),
        (values.published, "nowhere:8080:80", "not an IPv4 address"),
        (values.faults, "los=1", "unknown fault 'los'"),
        (values.faults, "loss=2", "not a probability"),
        (values.faults, "loss=nan", "not a probability"),
        (values.faults, "loss", "not a probability"),
        (values.faults, "seed=-1", "not a whole number"),
        (values.tunables, "backlg=1", "unknown tunable 'backlg'; did you mean 'backlog'?"),
        (values.tunables, "", "unknown tunable ''; known: backlog, buckets"),
        (values.tunables, "backlog=0", "'backlog=0': backlog is a number from 1 to 65536"),
        (values.tunables, "backlog", "'backlog': backlog is a number from 1 to 65536"),
        (values.tunables, "backlog=64k", "is a number from"),
        (values.tunables, "buckets=99999999999", "is a number from"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(parse: Callable[[str], object], text: str, words: str) -> None:
    with pytest.raises(ArgumentTypeError, match=words):
        parse(text)
