"""The virtio-net header for the three kinds of TCP frame."""

from __future__ import annotations

from dlibos_node.nic import virtio


def test_lengths() -> None:
    assert virtio.HEADER.size == virtio.HEADER_LENGTH == len(virtio.PLAIN)


def test_plain() -> None:
    assert virtio.tcp4_header(False, 0, 54) == virtio.PLAIN


def test_partial_checksum() -> None:
    assert virtio.HEADER.unpack(virtio.tcp4_header(True, 0, 54)) == (1, 0, 54, 0, 34, 16)


def test_cut_by_the_device() -> None:
    assert virtio.HEADER.unpack(virtio.tcp4_header(False, 1460, 66)) == (1, 1, 66, 1460, 34, 16)
