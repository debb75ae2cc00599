"""One client's connection to the embedded broker: whole packets in, bounded bytes out, nothing that it can pile up.

amqtt trusts its clients. What a tile in the attacker's hands could do to it ends here: a packet that is too long or of
a kind no client of ours sends, more packets than anyone needs, answers that nobody takes, silence.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.mqtt.packet import (
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
)

from dlibos_orchestrator.bus.topics import MOST_BYTES

MOST_UNSENT: Final = 4 << 20  # bytes that wait for a client to read them
SLOW: Final = 5.0  # seconds a client may take to make room for more

# A tile says a few things a second; two hundred packets of 512 bytes at once, and then 100 a second, are plenty.
PACKET_COST: Final = 512  # bytes that a packet counts besides its own
RATE: Final = 100 * 2 * PACKET_COST  # bytes a second
BURST: Final = 2 * RATE

# MQTT 3.1.1 section 2.2: lengths that are fixed; QoS 2 and its packets nobody here needs.
FIXED: Final = {PUBACK: 2, PINGREQ: 0, DISCONNECT: 0}
OPEN: Final = (PUBLISH, SUBSCRIBE, UNSUBSCRIBE)
EXACTLY_ONCE: Final = 0b0100  # bit of the PUBLISH flags, section 3.3.1.2


class BadPacketError(Exception):
    """What a client sent is no packet, or none that it may send."""


async def read_packet(stream: asyncio.StreamReader, most: int = MOST_BYTES) -> bytes:
    """Return the next packet with its fixed header. BadPacketError when it is too long, IncompleteReadError at the end.

    MQTT 3.1.1 section 2.2.3: the length is coded in up to four bytes of seven bits.
    """
    head = await stream.readexactly(2)
    length, shift = head[1] & 0x7F, 7
    while head[-1] & 0x80:
        if shift > 21:
            raise BadPacketError("a length of more than four bytes")
        head += await stream.readexactly(1)
        length |= (head[-1] & 0x7F) << shift
        shift += 7
    if length > most:
        raise BadPacketError(f"{length} bytes; at most {most} are taken")
    return head + await stream.readexactly(length)


def check_packet(packet: bytes) -> None:
    """Raise BadPacketError for a packet that no client of ours sends once it is connected."""
    kind, length = packet[0] >> 4, len(packet) - 2
    if kind in FIXED:
        if length != FIXED[kind]:
            raise BadPacketError(f"a packet of kind {kind} with {length} bytes")
    elif kind not in OPEN or (kind == PUBLISH and packet[0] & EXACTLY_ONCE):
        raise BadPacketError(f"a packet of kind {kind}, flags {packet[0] & 0xF:x}")


class Allowance:
    """How many bytes a client may send: `RATE` a second, `BURST` at once. Times in seconds."""

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._at = now

    def charge(self, size: int, now: float) -> float:
        """Take a packet of `size` bytes; return the seconds to wait before the next."""
        self._left = min(BURST, self._left + (now - self._at) * RATE) - size - PACKET_COST
        self._at = now
        return max(0.0, -self._left / RATE)


class Connection:
    """What the broker knows of one connection. `user` and `patience` are set when it is admitted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        self.user = ""
        self.heard = asyncio.get_running_loop().time()
        self.patience = SLOW  # seconds of silence it is allowed; until it is admitted, for its first word
        self.ended = asyncio.Event()
        self.refusal = ""  # why it was cut off

    def cut(self, why: str) -> None:
        """End it at once; the broker publishes its last will."""
        self.refusal = self.refusal or why
        self.writer.transport.abort()


class PacketReader(ReaderAdapter):
    """Gives amqtt the bytes of whole packets that passed the checks, beginning with `first`; then the end."""

    def __init__(self, connection: Connection, first: bytes, *, limited: bool) -> None:
        self._connection = connection
        self._rest = memoryview(first)
        self._allowance = Allowance(connection.heard) if limited else None

    async def read(self, n: int = -1) -> bytes:
        """Return the next `n` bytes of the current packet, or of the next when all of it was read; b"" at the end."""
        if n == 0:
            return b""
        if not self._rest:
            self._rest = memoryview(await self._next())
        part = self._rest if n < 0 else self._rest[:n]
        self._rest = self._rest[len(part) :]
        return bytes(part)

    async def _next(self) -> bytes:
        try:
            packet = await read_packet(self._connection.reader)
            check_packet(packet)
        except (asyncio.IncompleteReadError, OSError):
            return b""
        except BadPacketError as error:
            self._connection.cut(str(error))
            return b""
        await self._note(len(packet))
        return packet

    async def _note(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        self._connection.heard = loop.time()
        if self._allowance is not None and (delay := self._allowance.charge(size, loop.time())):
            await asyncio.sleep(delay)
            self._connection.heard = loop.time()

    def feed_eof(self) -> None:
        """Part of amqtt's interface; the stream notices its end itself."""
        self._connection.reader.feed_eof()


class BoundedWriter(WriterAdapter):
    """Takes what amqtt writes, and cuts off a client that does not read it."""

    def __init__(self, connection: Connection, describe: Callable[[], str]) -> None:
        self._connection = connection
        self._describe = describe

    def write(self, data: bytes) -> None:
        """Send, or keep for the client; never more than MOST_UNSENT bytes."""
        writer = self._connection.writer
        if writer.transport.get_write_buffer_size() + len(data) > MOST_UNSENT:
            self._connection.cut("it does not read what it is sent")
        elif not writer.is_closing():
            writer.write(data)

    async def drain(self) -> None:
        """Wait for room. ConnectionResetError when there is none in time, or nobody any more."""
        try:
            async with asyncio.timeout(SLOW):
                await self._connection.writer.drain()
        except TimeoutError:
            self._connection.cut("it does not read what it is sent")
            raise ConnectionResetError(self._connection.refusal) from None

    def get_peer_info(self) -> tuple[str, int] | None:
        """Return a name for the log; a unix socket's other end has no address."""
        return self._describe(), self._connection.number

    def get_ssl_info(self) -> ssl.SSLObject | None:
        """Return None: there is no TLS on a unix socket."""
        return None

    async def close(self) -> None:
        """Close; what is not sent yet goes first, if the client takes it."""
        self._connection.writer.close()
