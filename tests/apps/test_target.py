"""Request targets and the paths they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node.apps.web.target import decode


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", "/"),
        (b"/a/b", "/a/b"),
        (b"/a/b/", "/a/b/"),
        (b"/a/.", "/a/"),
        (b"/./", "/"),
        (b"///a", "/a"),
        (b"/a?b/../c", "/a"),
        (b"/%61%2Fb", "/a/b"),
        (b"/%25", "/%"),
        (b"/%252e%252e/a", "/%2e%2e/a"),
        (b"/...", "/..."),
        (b"/%FF", "/\udcff"),
        (b"http://a/b", "/b"),
        (b"HTTPS://a:1", "/"),
        (b"http://a?b", "/"),
        (b"", None),
        (b"*", None),
        (b"a", None),
        (b"ftp://a/b", None),
        (b"/..", None),
        (b"/a/../b", None),
        (b"/a%2f%2e%2e", None),
        (b"/%", None),
        (b"/%0", None),
        (b"/%0g", None),
        (b"/%00", None),
        (b"/#", None),
    ],
)
def test_decode(target: bytes, path: str | None) -> None:
    assert decode(target) == path


@given(st.binary())
def test_no_path_leaves_its_root(target: bytes) -> None:
    path = decode(b"/" + target)
    if path is not None:
        assert path.startswith("/")
        assert not path.startswith("//")
        assert ".." not in path.split("/")
        assert "\0" not in path
