"""Our own TCP against the kernel's, over the TAP device and what wraps it: offloads both ways, captures, faults."""

from __future__ import annotations

import hashlib
import random
import select
from pathlib import Path

import pytest

from dlibos_node.nic.device import Device
from dlibos_node.nic.fault import Fault, Rates
from dlibos_node.nic.pcap import Pcap
from dlibos_node.nic.tap import Tap
from dlibos_node.nic.user.answer import Link
from dlibos_node.nic.user.client import Client
from dlibos_node.nic.user.splice import microseconds
from dlibos_node.nic.virtio import MAX_FRAME
from dlibos_node.tcp import event
from dlibos_node.tcp.span import Span
from dlibos_node.tcp.timers import NEVER
from tests.nic.frames import CLIENT, MESH, MESH_MAC
from tests.nic.test_tap import ask_kernel_mac

SOURCE, DIGEST = 7, 8
MEGABYTE = bytes(range(256)) * 4096


class Kernel:
    """One connection to the kernel behind `tap`, whose frames go through `device`."""

    def __init__(self, tap: Tap, device: Device) -> None:
        link = Link(MESH, MESH_MAC, CLIENT, ask_kernel_mac(tap))
        self.received_bytes = bytearray()
        self.longest = 0
        self.reason = -1
        self._device = device
        self._deadline = NEVER
        self._client = Client(link, range(30000, 30010), device.transmit, self._wake)

    def run(self, port: int, upload: bytes = b"") -> None:
        """Connect, send, half-close, and go on until the connection is closed."""
        flow = self._client.connect(port, self, microseconds())
        assert flow
        self._flow = flow
        if upload:
            flow.connection.send(Span(upload, 0, len(upload)), microseconds())
        flow.connection.shutdown(microseconds())
        self._client.settle(flow, microseconds())
        buffer = bytearray(MAX_FRAME)
        while self.reason < 0:
            self._step(buffer)

    def _step(self, buffer: bytearray) -> None:
        wait = (self._deadline - microseconds()) / 1e6
        select.select([self._device], [], [], min(max(wait, 0), 10))
        while count := self._device.receive([memoryview(buffer)]):
            self.longest = max(self.longest, count)
            self._client.on_frame(bytes(buffer[:count]), microseconds())
        if self._deadline <= microseconds():
            self._deadline = NEVER
            self._client.on_timer(microseconds())

    def _wake(self, deadline: int) -> None:
        self._deadline = deadline

    def received(self, data: memoryview, now: int) -> None:
        self.received_bytes += data
        self._flow.connection.consume(len(data), now)

    def acknowledged(self) -> None:
        pass

    def peer_closed(self) -> None:
        pass

    def closed(self, reason: int) -> None:
        self.reason = reason


def test_kernel_cuts_and_sums_what_we_send(tap: Tap) -> None:
    upload = random.Random(1).randbytes(4 << 20)
    kernel = Kernel(tap, tap)
    kernel.run(DIGEST, upload)
    assert kernel.reason == event.NORMAL
    assert kernel.received_bytes == hashlib.sha256(upload).digest()
    assert tap.statistics.tx_bytes / tap.statistics.tx_frames > 1514


def test_kernel_leaves_cutting_and_sums_to_us(tap: Tap) -> None:
    kernel = Kernel(tap, tap)
    kernel.run(SOURCE)
    assert kernel.reason == event.NORMAL
    assert kernel.received_bytes == MEGABYTE
    assert kernel.longest > 1524


# Few losses: without SACK and time stamps a lost retransmission costs the kernel seconds of backed-off time-outs.
@pytest.mark.parametrize("seed", [1, 2])
def test_faults_are_noticed_and_repaired_by_both_tcps(tap: Tap, tmp_path: Path, seed: int) -> None:
    fault = Fault(tap, seed, Rates(duplicate=0.02, corrupt=0.005, reorder=0.02))
    device = Pcap(fault, str(tmp_path / "0.pcap"))
    kernel = Kernel(tap, device)
    kernel.run(SOURCE)
    assert kernel.received_bytes == MEGABYTE
    upload = random.Random(seed).randbytes(1 << 19)
    kernel = Kernel(tap, device)
    kernel.run(DIGEST, upload)
    assert kernel.received_bytes == hashlib.sha256(upload).digest()
    assert kernel.longest <= 1524
    assert fault.rx.counts.corrupted > 0
    assert fault.tx.counts.corrupted > 0
    assert (tmp_path / "0.pcap").stat().st_size > len(MEGABYTE)
    device.close()
