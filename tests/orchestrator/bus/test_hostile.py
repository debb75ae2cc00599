"""The embedded broker against a client that means harm: it is cut off, and nobody else notices."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.bus import connection, embedded
from dlibos_orchestrator.bus.client import Address, client
from dlibos_orchestrator.bus.connection import RATE, Allowance, BadPacketError, check_packet, read_packet
from dlibos_orchestrator.bus.topics import MOST_BYTES, tile_topic
from dlibos_orchestrator.model.credentials import bus_password
from tests.orchestrator.bus.conftest import MESH, PATIENCE, next_message, until
from tests.support.brokers import Embedded
from tests.support.keys import MESH_KEY

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def ours(directory: Path, mesh: mesh_pb2.Mesh) -> AsyncIterator[Embedded]:
    made = Embedded(directory, mesh, MESH_KEY)
    await made.start()
    yield made
    await made.stop()


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def packet(head: int, body: bytes) -> bytes:
    length, coded = len(body), bytearray()
    while True:
        length, low = length >> 7, length & 0x7F
        coded.append(low | (0x80 if length else 0))
        if not length:
            return bytes([head, *coded]) + body


def connect(user: str, *, flags: int = 0xC2, keepalive: int = 60, will: bytes = b"") -> bytes:
    body = text("MQTT") + bytes([4, flags]) + struct.pack(">H", keepalive) + text("any") + will
    return packet(0x10, body + text(user) + text(bus_password(MESH_KEY, user)))


def publish(topic: str, body: bytes, head: int = 0x30) -> bytes:
    number = struct.pack(">H", 1) if head & 6 else b""
    return packet(head, text(topic) + number + body)


async def opened(broker: Embedded) -> Streams:
    return await asyncio.open_unix_connection(broker.path)


async def came_in(broker: Embedded, first: bytes) -> Streams:
    reader, writer = await opened(broker)
    writer.write(first)
    async with asyncio.timeout(PATIENCE):
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
    return reader, writer


async def is_cut_off(streams: Streams) -> None:
    reader, writer = streams
    async with asyncio.timeout(PATIENCE):
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionResetError:
            pass
    writer.close()


OBSERVED = tile_topic(MESH, 1, "observed")


@pytest.mark.parametrize(
    "said",
    [
        packet(0x30, b"x")[:1] + b"\xff\xff\xff\xff\x01",  # a length of five bytes
        packet(0x30, bytes(MOST_BYTES + 1)),
        publish(OBSERVED, b"x", 0x34),  # QoS 2
        packet(0xC0, b"smuggled"),  # a ping that carries something
        packet(0x62, b"\0\1"),  # PUBREL
        packet(0x20, b"\0\0"),  # CONNACK
        packet(0xF0, b""),
        packet(0x00, b""),
        connect("tile-1"),  # a second CONNECT
        b"\x30\x80",  # half a packet, and then nothing: the next test of silence ends it
    ],
)
async def test_what_no_client_sends_ends_the_connection(
    ours: Embedded, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "SWEEP", 0.05)
    streams = await came_in(ours, connect("tile-1", keepalive=1))
    streams[1].write(said)
    await is_cut_off(streams)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        packet(0x10, b"\0\4MQTT"),
        packet(0x10, b"\0\4MQTT\4\xc2\0\1" + b"\xff\xff"),
        connect("tile-1").replace(b"MQTT\4", b"MQTT\5"),
        connect("tile-1", flags=0xC0),  # a session that outlives the connection
        connect("tile-1", flags=0xE6, will=text(tile_topic(MESH, 2, "observed")) + text("forged")),
        connect("tile-1", flags=0xE6, will=text("#") + text("forged")),
        packet(0x10, bytes(embedded.FIRST_WORD + 1)),
    ],
)
async def test_who_does_not_come_as_he_should_does_not_come_in(ours: Embedded, said: bytes) -> None:
    streams = await opened(ours)
    streams[1].write(said)
    async with asyncio.timeout(PATIENCE):
        try:
            answer = await streams[0].read(4)
        except ConnectionResetError:
            answer = b""
    assert answer[3:4] != b"\0"
    await is_cut_off(streams)


async def test_who_says_nothing_at_all_is_cut_off(ours: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SLOW", 0.2)
    await is_cut_off(await opened(ours))


async def test_who_does_not_read_is_cut_off_and_the_others_are_served(
    ours: Embedded, address: Callable[[str], Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW", 0.3)
    desired = tile_topic(MESH, 1, "desired")
    _, writer = await came_in(ours, connect("tile-1", keepalive=0))
    writer.write(packet(0x82, b"\0\1" + text(desired) + b"\1"))
    async with client(address("orchestrator")) as orchestrator:
        await orchestrator.subscribe(tile_topic(MESH, "+", "load"))
        for _ in range(40):
            await orchestrator.publish(desired, bytes(400_000), qos=1)
        await until(lambda: len(ours.broker._connections) == 1)
        async with client(address("tile-2")) as tile:
            await tile.publish(tile_topic(MESH, 2, "load"), "here")
            assert await next_message(orchestrator) == (tile_topic(MESH, 2, "load"), b"here", False)
    writer.close()


async def test_a_flood_is_slowed_down_and_the_others_are_served(
    ours: Embedded, address: Callable[[str], Address]
) -> None:
    """The sender waits, as at a full queue: nothing of what it says piles up in the broker."""
    load = tile_topic(MESH, 1, "load")
    streams = await came_in(ours, connect("tile-1", keepalive=0))
    async with client(address("orchestrator")) as orchestrator:
        await orchestrator.subscribe(tile_topic(MESH, 2, "load"))
        streams[1].write(publish(load, b"x") * 200_000)
        await asyncio.sleep(0.2)
        async with client(address("tile-2")) as tile:
            await tile.publish(tile_topic(MESH, 2, "load"), "here")
            assert await next_message(orchestrator) == (tile_topic(MESH, 2, "load"), b"here", False)
        sessions = ours.broker._broker
        assert sessions is not None
        assert sum(one.delivered_message_queue.qsize() for one, _ in sessions.sessions.values()) < 2000
        assert streams[1].transport.get_write_buffer_size() > 0
    streams[1].transport.abort()


def test_an_allowance_lets_a_burst_through_and_then_so_much_a_second() -> None:
    allowance, now, sent = Allowance(0.0), 0.0, 0
    while now < 10:
        sent += 1
        now += allowance.charge(512, now)
    assert sent == pytest.approx((connection.BURST + 10 * RATE) / 1024, rel=0.02)
    assert allowance.charge(512, now + 100) == 0


async def test_packets_are_read_whole() -> None:
    stream = asyncio.StreamReader()
    for size in (0, 1, 127, 128, 16_383, 16_384):
        stream.feed_data(packet(0x30, bytes(size)))
    stream.feed_eof()
    for size in (0, 1, 127, 128, 16_383, 16_384):
        assert (await read_packet(stream))[-size:] == bytes(size) or size == 0
    with pytest.raises(asyncio.IncompleteReadError):
        await read_packet(stream)


@pytest.mark.parametrize("fine", [b"\xc0\0", b"\xe0\0", b"\x40\2\0\1", publish("a", b""), publish("a", b"", 0x32)])
def test_what_clients_send_passes(fine: bytes) -> None:
    check_packet(fine)
    with pytest.raises(BadPacketError):
        check_packet(bytes([0x70, *fine[1:]]))
