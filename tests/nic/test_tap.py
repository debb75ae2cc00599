"""The TAP device against a real kernel: raw ARP and ICMP frames, offloads, and what happens when the interface goes."""

from __future__ import annotations

import os
import select
import socket
import struct

import pytest

from dlibos_node.errors import DeviceError
from dlibos_node.nic.device import Drop
from dlibos_node.nic.queue import QueueInfo, fetch_queue
from dlibos_node.nic.tap import Tap
from dlibos_node.nic.virtio import HEADER_LENGTH, MAX_FRAME, PLAIN

OUR_MAC = bytes.fromhex("020000000002")
OUR_ADDRESS = socket.inet_aton("10.77.0.2")
KERNEL_ADDRESS = socket.inet_aton("10.77.0.1")


def arp_request() -> bytes:
    header = b"\xff" * 6 + OUR_MAC + b"\x08\x06"
    return header + struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, OUR_MAC, OUR_ADDRESS, bytes(6), KERNEL_ADDRESS)


def receive_matching(tap: Tap, offset: int, wanted: bytes) -> bytes:
    """Return the first frame, without its virtio header, that has `wanted` at `offset`; others are the kernel's own."""
    first, rest = bytearray(64), bytearray(MAX_FRAME)
    while True:
        assert select.select([tap], [], [], 10)[0]
        count = tap.receive([memoryview(first), memoryview(rest)])
        frame = bytes(first + rest)[HEADER_LENGTH:count]
        if frame[offset : offset + len(wanted)] == wanted:
            return frame


def ask_kernel_mac(tap: Tap) -> bytes:
    assert tap.transmit([PLAIN + arp_request()[:14], arp_request()[14:]])
    reply = receive_matching(tap, 12, b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02")
    return reply[6:12]


def ip_checksum(data: bytes) -> bytes:
    return struct.pack("!H", 0xFFFF - int.from_bytes(data) % 0xFFFF)


def echo_request(kernel_mac: bytes, payload: bytes) -> bytes:
    icmp = struct.pack("!BBHHH", 8, 0, 0, 77, 1) + payload
    icmp = icmp[:2] + ip_checksum(icmp) + icmp[4:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0, OUR_ADDRESS, KERNEL_ADDRESS)
    ip = ip[:10] + ip_checksum(ip) + ip[12:]
    return kernel_mac + OUR_MAC + b"\x08\x00" + ip + icmp


def test_kernel_answers_arp_and_echo(tap: Tap) -> None:
    assert tap.name == "test0"
    frame = echo_request(ask_kernel_mac(tap), b"over the chip, and back!")
    assert tap.transmit([PLAIN, frame[:34], memoryview(frame)[34:]])
    reply = receive_matching(tap, 34, b"\x00\x00")
    assert reply[12:14] == b"\x08\x00"
    assert reply[38:] == frame[38:]
    assert tap.statistics.tx_frames == 2
    assert tap.statistics.tx_bytes == 42 + len(frame)
    assert tap.statistics.rx_frames >= 2


def test_offloads_granted(tap: Tap) -> None:
    assert tap.offloads[:3] == ("csum", "tso4", "tso6")


def test_receive_with_nothing_waiting(keeper: str) -> None:
    descriptor, info = fetch_queue(keeper, 0)
    with_traffic = Tap(descriptor, info.mtu)
    second, info = fetch_queue(keeper, 0)  # the kernel sends nothing to a queue whose flow it has not seen
    idle = Tap(second, info.mtu)
    assert info == QueueInfo("test0", 1500)
    buffer = [memoryview(bytearray(MAX_FRAME))]
    while idle.receive(buffer):
        pass
    assert idle.receive(buffer) == 0
    assert idle.statistics.drops == dict.fromkeys(Drop, 0)
    with_traffic.close()
    idle.close()


def test_long_frame_is_cut_to_the_buffers(tap: Tap) -> None:
    mac = ask_kernel_mac(tap)
    assert tap.transmit([PLAIN, echo_request(mac, bytes(1000))])
    while True:
        assert select.select([tap], [], [], 10)[0]
        buffer = bytearray(100)
        count = tap.receive([memoryview(buffer)])
        if buffer[22:24] == b"\x08\x00" and buffer[44:46] == b"\0\0":
            break
    assert count == 100


def command(keeper: str, letter: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(keeper)
        control.sendall(letter)
        assert control.recv(10) == b"done"


def test_interface_down_is_a_drop(keeper: str, tap: Tap) -> None:
    command(keeper, b"D")
    assert not tap.transmit([PLAIN, arp_request()])
    assert tap.statistics.drops[Drop.DOWN] == 1
    buffer = [memoryview(bytearray(MAX_FRAME))]
    while tap.receive(buffer):
        pass
    assert not tap.statistics.gone


def test_nonsense_header_is_refused(tap: Tap) -> None:
    csum_beyond_the_frame = struct.pack("<BBHHHH", 1, 0, 54, 0, 60000, 16)
    assert not tap.transmit([csum_beyond_the_frame, arp_request()])
    assert not tap.transmit([PLAIN])
    assert tap.statistics.drops[Drop.REFUSED] == 2


def test_queue_that_lost_its_interface_is_quiet(keeper: str, tap: Tap) -> None:
    command(keeper, b"X")
    assert select.select([tap], [], [], 0)[0]
    assert tap.receive([memoryview(bytearray(100))]) == 0
    assert tap.statistics.gone
    assert not select.select([tap], [], [], 0)[0]
    assert tap.receive([memoryview(bytearray(100))]) == 0
    assert not tap.transmit([PLAIN, arp_request()])


def test_closed_tap_is_gone(tap: Tap) -> None:
    tap.close()
    tap.close()
    assert not tap.transmit([PLAIN, arp_request()])
    assert tap.receive([memoryview(bytearray(100))]) == 0
    assert tap.statistics.gone


def test_other_descriptors_are_refused() -> None:
    read_end, write_end = os.pipe()
    with pytest.raises(DeviceError, match="not a usable TAP queue"):
        Tap(read_end, 1500)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read_end)
    os.close(write_end)


def test_a_detached_queue_gets_nothing_and_may_still_send(keeper: str, tap: Tap) -> None:
    kernel_mac = ask_kernel_mac(tap)
    descriptor, info = fetch_queue(keeper, 1)
    other = Tap(descriptor, info.mtu)
    other.detach()
    other.detach()
    assert other.receive([memoryview(bytearray(MAX_FRAME))]) == 0
    assert other.transmit([PLAIN + echo_request(kernel_mac, b"by the back door")])
    # Only the attached queue is given frames.
    assert receive_matching(tap, 42, b"by the back door")[34:36] == b"\x00\x00"
    assert not other.statistics.gone
    other.close()


def test_a_queue_that_is_attached_again_gets_frames(tap: Tap) -> None:
    kernel_mac = ask_kernel_mac(tap)
    tap.detach()
    tap.transmit([PLAIN + echo_request(kernel_mac, b"nobody hears the answer")])
    assert not select.select([tap], [], [], 0)[0]
    tap.attach()
    tap.attach()
    tap.transmit([PLAIN + echo_request(kernel_mac, b"now one does")])
    assert receive_matching(tap, 42, b"now one does")[34:36] == b"\x00\x00"


def test_a_queue_whose_interface_has_gone_cannot_be_attached(tap: Tap) -> None:
    tap.detach()
    assert tap.idle
    tap.quiesce()
    tap.close()
    with pytest.raises(DeviceError, match="cannot attach a queue of test0"):
        tap.attach()
    tap.detach()
