"""Web clients that ask again as soon as they are answered, made of ready frames: what they cost is not the server's.

They speak just enough TCP for a wire that loses nothing. The acknowledgement of an answer rides on the next request,
as a kernel's delayed one does.
"""

from __future__ import annotations

import struct
from typing import Final

from dlibos_node.cost.device import Wire
from dlibos_node.errors import MeasurementError
from dlibos_node.nic import virtio
from dlibos_node.wire import ethernet, ipv4, tcp

ADDRESS: Final = 0x0A4D_0001  # 10.77.0.1
MAC: Final = bytes.fromhex("02d1b0000001")
FIRST_PORT: Final = 20_000
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: 10.77.0.2\r\n\r\n"  # wrk's
OK: Final = b"HTTP/1.1 200"
_IP: Final = ethernet.LENGTH
_TCP: Final = _IP + ipv4.LENGTH
_PAYLOAD: Final = _TCP + tcp.LENGTH
_NUMBERS: Final = struct.Struct("!II")  # sequence and acknowledgement number, at _TCP + tcp.SEQ


class _Connection:
    """One connection: the frame of its request, and the next byte each way."""

    __slots__ = ("expected", "frame", "seq")

    def __init__(self, frame: bytearray, seq: int) -> None:
        self.frame = frame
        self.seq = seq
        self.expected = 0


class Clients:
    """`count` connections to port 80 of the mesh's interface at the other end of `wire`."""

    def __init__(self, wire: Wire, mac: bytes, address: int, count: int) -> None:
        self._wire = wire
        self._mac = mac
        self._address = address
        self._connections = {port: self._connect(port) for port in range(FIRST_PORT, FIRST_PORT + count)}

    def __len__(self) -> int:
        return len(self._connections)

    def _connect(self, port: int) -> _Connection:
        self._wire.towards.append(bytes(self._frame(port, tcp.SYN, b"")))
        return _Connection(self._frame(port, tcp.ACK | tcp.PSH, REQUEST), 1)

    def _frame(self, port: int, flags: int, payload: bytes) -> bytearray:
        frame = bytearray(virtio.HEADER_LENGTH + _PAYLOAD) + payload
        frame[0] = virtio.NEEDS_CSUM  # a client on this machine leaves the checksum to a device that is none
        inside = memoryview(frame)[virtio.HEADER_LENGTH :]
        ethernet.Header(self._mac, MAC, ethernet.IPV4).emit(inside)
        ipv4.Header(ADDRESS, self._address, ipv4.TCP, len(inside) - _IP).emit(inside, _IP)
        tcp.Header(port, 80, 0, 0, flags, 0xFFFF).emit(inside, _TCP)
        return frame

    def ask(self) -> int:
        """Take the answers that have come, and put the next request of each of their connections on the wire.

        Returns how many that are. MeasurementError when an answer is not what a healthy server says.
        """
        sent, self._wire.sent = self._wire.sent, []
        for frame in sent:
            self._answer(frame)
        return len(self._wire.towards)

    def _answer(self, frame: bytes) -> None:
        port = int.from_bytes(frame[_TCP + 2 : _TCP + 4], "big")
        seq, _ = _NUMBERS.unpack_from(frame, _TCP + tcp.SEQ)
        flags, payload = frame[_TCP + tcp.FLAGS], frame[_TCP + (frame[_TCP + tcp.DATA_OFFSET] >> 4) * 4 :]
        connection = self._connections[port]
        if flags & tcp.SYN:
            connection.expected = seq + 1 & 0xFFFF_FFFF
        elif seq != connection.expected or flags & (tcp.FIN | tcp.RST) or not payload.startswith(OK):
            raise MeasurementError(f"connection {port}: the server sent {frame[_TCP:]!r}: run `make test-fast`")
        else:
            connection.expected = seq + len(payload) & 0xFFFF_FFFF
        self._request(connection)

    def _request(self, connection: _Connection) -> None:
        _NUMBERS.pack_into(connection.frame, virtio.HEADER_LENGTH + _TCP + tcp.SEQ, connection.seq, connection.expected)
        self._wire.towards.append(bytes(connection.frame))
        connection.seq = connection.seq + len(REQUEST) & 0xFFFF_FFFF
