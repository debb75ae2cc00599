"""The stack role's surroundings in a fused tile: plain calls where a mesh has messages.

A frame is on the wire when `transmit` returns, so nothing waits for a driver tile, and headers need no memory that
others read. What happens to a connection is told to the sockets in the same call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from dlibos_node.memory import descriptor
from dlibos_node.memory.partition import Partition
from dlibos_node.nic import virtio
from dlibos_node.nic.device import Device
from dlibos_node.noc import message
from dlibos_node.roles import rx
from dlibos_node.roles.app_events import AppEvents
from dlibos_node.roles.driver import Drop
from dlibos_node.roles.reception import Reception
from dlibos_node.roles.tx import TxPort, needs_checksum
from dlibos_node.sockets.layer import Sockets
from dlibos_node.stack.flow import Flow
from dlibos_node.tcp.span import Span
from dlibos_node.wire.buffer import Buffer

# The roles' numbers among themselves; the driver has the tile's own, as its partitions have.
STACK: Final = message.MAX_TILE
APP: Final = message.MAX_TILE - 1
_SHARE: Final = 2  # a half of the receive buffers may be held without worry


class DirectPort(TxPort):
    """`stack.Port` on the device and the receive memory of the same tile; `payload` is the application's partition."""

    def __init__(
        self, headers: Partition, device: Device, memory: Reception, payload: Partition, drops: Counter[Drop]
    ) -> None:
        super().__init__(headers)
        self._device = device
        self._memory = memory
        self._payload = payload.view
        self._drops = drops

    def way(self, route: int, key: int) -> int:
        """There is one."""
        return route

    def transmit(self, route: int, header: bytes, spans: Sequence[Span], gso_size: int) -> int:
        """Put a frame on the wire."""
        parts: list[Buffer] = [virtio.tcp4_header(needs_checksum(header), gso_size, len(header)), header]
        for span in spans:
            parts.append(self._payload[span.offset : span.offset + span.length])
        if not self._device.transmit(parts):
            self._drops[Drop.DEVICE] += 1
        return 0

    def finished(self, route: int, ticket: int) -> bool:
        """Every frame has left when `transmit` returns."""
        return True

    def release(self, lease: int) -> None:
        """Free a received frame's buffer."""
        self._memory.release_unchecked(lease)

    def short(self, lease: int) -> bool:
        """Whether half of the receive buffers are taken."""
        memory = self._memory.memories[lease >> 48 & descriptor.INDEX_MASK]
        return memory.small.in_use * _SHARE > rx.SMALL_COUNT or memory.large.in_use * _SHARE > rx.LARGE_COUNT


class DirectEvents(AppEvents):
    """`stack.Events` by calling the sockets of the same tile. `port` is only passed on."""

    def __init__(self, port: TxPort, sockets: Sockets) -> None:
        super().__init__({}, port)
        self._sockets = sockets
        self._acknowledged: list[int] = []  # pairs for `on_sent`, gathered over a batch of frames

    def connected(self, flow: Flow) -> None:
        """Tell the application."""
        head = flow.header
        ends = head.peer << 32 | head.peer_port << 16 | head.local_port
        self._sockets.on_connected(STACK, [flow.handle, ends], 0)

    def received(self, flow: Flow, span: Span) -> None:
        """Let the application read where the frame lies."""
        words = [flow.handle, span.offset << 32 | span.length, span.lease & descriptor.HIGH32]
        self._sockets.on_recv(STACK, words, 0)

    def sent(self, flow: Flow, count: int) -> None:
        """Tell the application, when the batch is done."""
        self._acknowledged += (flow.handle, count)

    def peer_closed(self, flow: Flow) -> None:
        """Tell the application."""
        self._sockets.on_peer_closed(STACK, [flow.handle], 0)

    def dead(self, flow: Flow, reason: int) -> None:
        """Tell the application, after what was acknowledged before."""
        self.flush()
        self._sockets.on_dead(STACK, [flow.handle, reason], 0)

    def flush(self) -> None:
        """Tell what was gathered."""
        if self._acknowledged:
            words, self._acknowledged = self._acknowledged, []
            self._sockets.on_sent(STACK, words, 0)

    def forget(self, app: int) -> None:
        """The application lives and dies with the tile."""
