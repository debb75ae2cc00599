"""What a request costs each tile's code, gRPC and kernel apart: run by hand, `python -m tests.bench.request_path`.

A whole chip in one process (tests/support/chip.py) answers GET requests that arrive in batches. Printed: CPU time per
request of each role and of the NoC between them (protobuf, queues, credits), the least of all rounds: what is above it
is the doing of other processes, so that a change of a few per cent in the code shows.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from dlibos.noc.v1.noc_pb2 import Frame

from dlibos_node.apps.web.server import WebServer
from dlibos_node.nic import virtio
from dlibos_node.nic.device import DeviceStatistics
from dlibos_node.nic.memory import Private
from dlibos_node.noc.peer import Peer
from dlibos_node.wire import checksum, ethernet, ipv4, tcp
from dlibos_node.wire.buffer import Buffer
from tests.support.chip import ADDRESS, MAC, Chip, ManualClock, Tile

CLIENT: Final = ipv4.address("10.77.0.1")
CLIENT_MAC: Final = bytes.fromhex("02d1b0000001")
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: 10.77.0.2\r\n\r\n"
PAGE: Final = b"<!doctype html><title>bench</title>".ljust(127, b".") + b"\n"
STAGES: Final = ("driver", "stack", "app", "noc")
SEQ_AT: Final = virtio.HEADER_LENGTH + ethernet.LENGTH + ipv4.LENGTH + tcp.SEQ


class Wire(Private):
    """A device that gives what was loaded and counts what it is given."""

    def __init__(self) -> None:
        self.mtu = 1500
        self.offloads: tuple[str, ...] = ("csum", "tso4")
        self.statistics = DeviceStatistics()
        self.frames: Iterator[bytes] = iter(())
        self.sent = 0
        self.last = b""
        self.offered = 0

    def load(self, frames: Sequence[bytes]) -> None:
        self.frames = iter(frames)

    def fileno(self) -> int:
        return -1

    def receive(self, buffers: Sequence[memoryview]) -> int:
        frame = next(self.frames, b"")
        size = len(frame)
        if size:
            buffers[0][:size] = frame
        return size

    def transmit(self, parts: Sequence[Buffer]) -> bool:
        self.sent += 1
        self.offered += sum([len(part) for part in parts])
        self.last = bytes(parts[1])
        return True

    def close(self) -> None:
        """Nothing to give up."""


class Browser:
    """One connection's client side, as a template of its next frame."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seq = 1000
        self.ack = 0

    def frame(self, flags: int, payload: bytes = b"", options: bytes = b"") -> bytes:
        header = ethernet.HEADER.pack(MAC, CLIENT_MAC, ethernet.IPV4)
        packet, segment = bytearray(ipv4.LENGTH), bytearray(tcp.LENGTH + len(options))
        total = len(packet) + len(segment) + len(payload)
        ipv4.Header(CLIENT, ADDRESS, ipv4.TCP, total).emit(packet)
        partial = checksum.pseudo_header(CLIENT, ADDRESS, ipv4.TCP, total - ipv4.LENGTH)
        tcp.Header(self.port, 80, self.seq, self.ack, flags, 502).emit(segment, 0, partial, options)
        return virtio.tcp4_header(True, 0, 54) + header + bytes(packet) + bytes(segment) + payload

    def open(self, chip: Chip, wire: Wire) -> None:
        wire.load([self.frame(tcp.SYN, options=tcp.Options(1460, 7).emit())])
        chip.run()
        self.seq += 1
        self.ack = int(struct.unpack_from("!I", wire.last, ethernet.LENGTH + ipv4.LENGTH + tcp.SEQ)[0]) + 1
        wire.load([self.frame(tcp.ACK)])
        chip.run()
        self.request = bytearray(self.frame(tcp.ACK | tcp.PSH, REQUEST))

    def ask(self) -> bytes:
        """Return the next request, which acknowledges the answer before."""
        struct.pack_into("!II", self.request, SEQ_AT, self.seq & 0xFFFF_FFFF, self.ack & 0xFFFF_FFFF)
        self.seq += len(REQUEST)
        return bytes(self.request)


class Stopwatch:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)

    def time(self, stage: str, work: Callable[[], object]) -> None:
        started = time.process_time()
        work()
        self.spent[stage] += time.process_time() - started


class Bench:
    """A chip with open connections; the first answer has told how long answers are."""

    def __init__(self, connections: int, root: Path) -> None:
        self.clock = ManualClock()
        self.chip = Chip(WebServer(root, self.clock).accept)
        self.wire = Wire()
        self.chip.drivers[0].device = self.wire
        self.chip.devices[0] = self.wire  # type: ignore[call-overload]  # as far as `run` looks at it, a device
        self.watch = Stopwatch()
        self.browsers = [Browser(port) for port in range(10_000, 10_000 + connections)]
        for browser in self.browsers:
            browser.open(self.chip, self.wire)
        self.wire.offered = 0
        self.batch([self.browsers[0]])
        self.answer = self.wire.offered - virtio.HEADER_LENGTH - len(self.wire.last)
        self.browsers[0].ack += self.answer

    def round(self, size: int) -> dict[str, float]:
        """Ask on every connection once, in batches of `size`; return CPU us per request by stage."""
        self.watch.spent.clear()
        before = self.wire.sent
        for start in range(0, len(self.browsers), size):
            self.batch(self.browsers[start : start + size])
        if self.wire.sent - before != len(self.browsers):
            sys.exit(f"{len(self.browsers)} requests, {self.wire.sent - before} answers: the path is broken")
        for browser in self.browsers:
            browser.ack += self.answer
        return {stage: self.watch.spent[stage] / len(self.browsers) * 1e6 for stage in STAGES}

    def batch(self, browsers: Sequence[Browser]) -> None:
        self.chip.clock.advance(0.001)
        self.wire.load([browser.ask() for browser in browsers])
        driver, before = self.chip.drivers[0], -1
        while before != driver.memory.in_use:
            before = driver.memory.in_use
            self.watch.time("driver", driver.readable)
        moved = True
        while moved:
            moved = False
            for tile in self.chip.tiles:
                for peer in tile.peers.values():
                    moved |= self.carry(tile, peer)

    def carry(self, tile: Tile, peer: Peer) -> bool:
        """Hand one frame over as a link does, and let its receiver work on it."""
        target = self.chip.tiles[peer.number]
        role, back = target.role, target.peers[tile.number]
        frames: list[Frame] = []
        self.watch.time("noc", lambda: frames.extend(take(peer)))
        if not frames:
            return False
        words = bool(frames[0].words)
        self.watch.time("noc", lambda: give(target, back, frames[0]))
        if words and role is not None:
            self.watch.time(("driver", "stack", "app")[target.number], role.drain)
        return words


def take(peer: Peer) -> Iterator[Frame]:
    """Yield what waits for a peer, if anything does, as it arrives there."""
    words = peer.take()
    owed = peer.take_owed(anyway=bool(words))
    if words or owed:
        yield Frame.FromString(Frame(words=words, credits=owed).SerializeToString())


def give(target: Tile, back: Peer, frame: Frame) -> None:
    if frame.credits:
        back.grant(list(frame.credits))
    if frame.words:
        refused = target.queues.accept(back, frame.words[:])
        if refused is not None:
            sys.exit(f"tile {target.number} refuses a frame: {refused.value}")


def main() -> None:
    """Print a line for each count of connections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--batches", type=int, default=4, help="batches in which a round's requests come (%(default)s)")
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    for connections in arguments.connections:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "index.html").write_bytes(PAGE)
            bench = Bench(connections, Path(folder))
            size = connections // arguments.batches
            rounds = [bench.round(size) for _ in range(arguments.rounds)]
        least = {stage: min(r[stage] for r in rounds) for stage in STAGES}
        words = ", ".join(f"{stage} {us:5.1f}" for stage, us in least.items())
        print(f"{connections:4d} connections in batches of {size:3d}: {words}; together {sum(least.values()):5.1f} us")


if __name__ == "__main__":
    main()
