"""Captures, read back by a small parser and, where it is installed, by tshark."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from dlibos_node.errors import DeviceError
from dlibos_node.nic.pcap import Pcap
from tests.nic.frames import Wire, arp_frame, numbered, receive, tcp_frame


def records(path: Path) -> list[tuple[int, bytes]]:
    """Return time in nanoseconds and frame of each record."""
    data = path.read_bytes()
    assert struct.unpack_from("<IHHiIII", data) == (0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    found, at = [], 24
    while at < len(data):
        seconds, nanoseconds, length, original = struct.unpack_from("<IIII", data, at)
        assert length == original
        found.append((seconds * 10**9 + nanoseconds, data[at + 16 : at + 16 + length]))
        at += 16 + length
    return found


def test_both_directions_in_order_and_time(tmp_path: Path) -> None:
    wire, path = Wire(), tmp_path / "0.pcap"
    capture = Pcap(wire, str(path))
    before = time.time_ns()
    wire.deliver([arp_frame()])
    assert receive(capture) == arp_frame()
    frame = tcp_frame(bytes(60_000), gso_size=1448)
    assert capture.transmit([frame[:66], memoryview(frame)[66:]])
    wire.deliver([numbered(1)])
    assert receive(capture) == numbered(1)
    after = time.time_ns()
    assert receive(capture) == b""  # nothing waits: written out
    found = records(path)
    assert [data for _, data in found] == [arp_frame()[10:], frame[10:], numbered(1)[10:]]
    stamps = [stamp for stamp, _ in found]
    assert [before, *stamps, after] == sorted([before, *stamps, after])
    capture.close()


def test_refused_frames_are_not_recorded(tmp_path: Path) -> None:
    wire, path = Wire(), tmp_path / "0.pcap"
    capture = Pcap(wire, str(path))
    assert not capture.transmit([b"short"])
    assert capture.statistics.tx_frames == 0
    capture.close()
    assert records(path) == []


def test_received_frame_cut_by_the_buffers(tmp_path: Path) -> None:
    wire, path = Wire(), tmp_path / "0.pcap"
    capture = Pcap(wire, str(path))
    wire.deliver([numbered(5)])
    assert receive(capture, 36) == numbered(5)[:100]
    capture.close()
    capture.close()
    assert [data for _, data in records(path)] == [numbered(5)[10:100]]


def test_directory_missing(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="No such file or directory; name a directory you can write to"):
        Pcap(Wire(), str(tmp_path / "no" / "0.pcap"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_disk_full_stops_the_capture_not_the_device() -> None:
    wire = Wire()
    capture = Pcap(wire, "/dev/full")
    for number in range(3):
        assert capture.transmit([numbered(number)])
    assert len(wire.sent) == 3
    assert capture.lost == 3
    capture.close()


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_tshark_reads_it(tmp_path: Path) -> None:
    wire, path = Wire(), tmp_path / "0.pcap"
    capture = Pcap(wire, str(path))
    capture.transmit([arp_frame()])
    capture.transmit([numbered(1)])
    capture.close()
    fields = ["-T", "fields", "-e", "frame.len", "-e", "_ws.col.Protocol", "-e", "tcp.srcport"]
    output = subprocess.run(["tshark", "-r", str(path), *fields], capture_output=True, text=True, check=True).stdout
    assert [line.split() for line in output.splitlines()] == [["42", "ARP"], ["170", "TCP", "40000"]]
