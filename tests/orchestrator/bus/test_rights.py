"""Who may read and write what: the table, and that a filter never reaches further than what was granted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_orchestrator.bus.rights import covers, may_read, may_write, rights
from dlibos_orchestrator.bus.topics import parse_tile_topic, tile_of_user, tile_topic, tile_user

levels = st.sampled_from(["a", "b", "", "1", "+"])
filters = st.builds(lambda path, rest: "/".join([*path, *rest]), st.lists(levels, min_size=1, max_size=4),
                    st.sampled_from([[], ["#"]]))  # fmt: skip
names = st.lists(st.sampled_from(["a", "b", "", "1"]), min_size=1, max_size=5).map("/".join)


def matches(a_filter: str, topic: str) -> bool:
    """MQTT 3.1.1 section 4.7, for a topic without wildcards."""
    ours, theirs = a_filter.split("/"), topic.split("/")
    if ours[-1] == "#":
        ours = ours[:-1]
        theirs = theirs[: len(ours)]
    return len(ours) == len(theirs) and all(one in ("+", other) for one, other in zip(ours, theirs, strict=True))


@given(filters, filters, names)
def test_what_is_covered_matches_no_topic_that_was_not_granted(granted: str, asked: str, topic: str) -> None:
    if covers(granted, asked) and matches(asked, topic):
        assert matches(granted, topic)


@given(filters, names)
def test_a_topic_is_covered_just_when_it_matches(granted: str, topic: str) -> None:
    # "a/#" also matches "a" (section 4.7.1.2); nothing of ours is published there, and it is not granted.
    parent = granted.removesuffix("/#") if granted.endswith("/#") else None
    if parent is None or not matches(parent, topic):
        assert covers(granted, topic) == matches(granted, topic)


@pytest.mark.parametrize(
    ("user", "reads", "writes"),
    [
        ("tile-3", ["tile/3/desired"], ["tile/3/observed", "tile/3/load", "tile/3/fault"]),
        ("operator", ["tile/3/desired", "tile/0/observed", "orchestrator/reply/1"], ["orchestrator/request"]),
        ("orchestrator", ["tile/3/observed", "orchestrator/request"], ["tile/3/desired", "orchestrator/reply/1"]),
        ("stranger", [], []),
        ("tile-", [], []),
        ("tile-3x", [], []),
        ("", [], []),
    ],
)
def test_the_table(user: str, reads: list[str], writes: list[str]) -> None:
    topics = [
        "tile/3/desired", "tile/3/observed", "tile/3/load", "tile/3/fault", "tile/0/desired", "tile/0/observed",
        "tile/33/observed", "orchestrator/request", "orchestrator/observed", "orchestrator/reply/1",
    ]  # fmt: skip
    for topic in topics:
        full = f"dlibos/m/{topic}"
        if topic in reads:
            assert may_read("m", user, full)
        if topic in writes:
            assert may_write("m", user, full)
        assert not may_read("other", user, full)
        assert not may_write("other", user, full)
    if user.startswith("tile"):
        assert [t for t in topics if may_read("m", user, f"dlibos/m/{t}")] == reads
    if user != "orchestrator":
        assert [t for t in topics if may_write("m", user, f"dlibos/m/{t}")] == writes


@pytest.mark.parametrize("wide", ["#", "+/m/tile/3/desired", "dlibos/m/tile/+/desired", "dlibos/m/tile/3/#"])
def test_a_tile_gets_no_filter_wider_than_its_topic(wide: str) -> None:
    assert not may_read("m", "tile-3", wide)


def test_nobody_publishes_to_a_filter() -> None:
    assert not may_write("m", "orchestrator", "dlibos/m/tile/+/desired")
    assert not may_write("m", "orchestrator", "dlibos/m/#")
    assert rights("m", "tile-1").write == tuple(f"dlibos/m/tile/1/{kind}" for kind in ("observed", "load", "fault"))


@given(st.integers(0, 255), st.sampled_from(["desired", "observed", "load", "fault"]))
def test_topics_and_users_are_taken_apart_as_they_were_put_together(tile: int, kind: str) -> None:
    assert parse_tile_topic("m", tile_topic("m", tile, kind)) == (tile, kind)
    assert parse_tile_topic("n", tile_topic("m", tile, kind)) is None
    assert tile_of_user(tile_user(tile)) == tile


@pytest.mark.parametrize("topic", ["", "dlibos/m/tile/03/load", "dlibos/m/tile/x/load", "dlibos/m/orchestrator/event"])
def test_what_is_no_topic_of_a_tile(topic: str) -> None:
    assert parse_tile_topic("m", topic) is None
