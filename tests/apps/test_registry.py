"""Kinds of applications by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlibos_node.apps.registry import KINDS, find
from dlibos_node.errors import ConfigurationError
from tests.apps.exchange import answers
from tests.apps.fake import FakeConnection, FakeTimers


def test_web_starts_with_and_without_a_root(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"own")
    for root, page in (("", b"<!doctype"), (str(tmp_path), b"own")):
        app = KINDS["web"].start(root, FakeTimers())
        connection = FakeConnection()
        app.accept(connection).received(memoryview(b"GET / HTTP/1.0\r\n\r\n"))
        assert answers(connection.sent)[0].body.startswith(page)
        assert app.statistics.requests == 1
    assert find("web").port == 80


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'webb'; known kinds: web"):
        find("webb")


def test_a_root_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="/nowhere is not a directory"):
        find("web").start("/nowhere", FakeTimers())
