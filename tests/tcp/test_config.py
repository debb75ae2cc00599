"""Settings and what follows from them."""

from __future__ import annotations

import pytest

from dlibos_node.tcp.config import TcpConfig, scale_for


@pytest.mark.parametrize(
    ("window", "scale"), [(1, 0), (65_535, 0), (65_536, 1), (1 << 20, 5), (1 << 30, 14), (1 << 40, 14)]
)
def test_scale_is_the_smallest_that_states_the_buffer(window: int, scale: int) -> None:
    assert scale_for(window) == scale
    assert TcpConfig(receive_buffer=window).window_scale == scale
