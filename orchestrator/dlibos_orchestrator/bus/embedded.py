"""The embedded broker: amqtt in the orchestrator's process, at a unix socket, so that one machine needs nothing else.

Its state goes with the process. Clients come again and say anew what was retained.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from amqtt.errors import AMQTTError, MQTTError, NoDataError, ProtocolHandlerError
from amqtt.mqtt.connack import ConnackPacket

from dlibos_orchestrator.bus import rights, topics
from dlibos_orchestrator.bus.admission import Admitted, RefusedError, admit
from dlibos_orchestrator.bus.broker import LISTENER, RightsBroker
from dlibos_orchestrator.bus.connection import (
    BadPacketError,
    BoundedWriter,
    Connection,
    PacketReader,
    read_packet,
)

log: Final = logging.getLogger(__name__)

BACKLOG: Final = 1024  # connections that wait to be accepted: all tiles of a big mesh come back at once
MOST_CONNECTIONS: Final = 1024
MOST_OF_ONE_USER: Final = 16  # several operators may look at once; a tile and the orchestrator have one each
FIRST_WORD: Final = 64 << 10  # bytes of a CONNECT
AGAIN: Final = 0.1  # seconds between two connections of one tile: whoever comes faster waits
SWEEP: Final = 0.25  # seconds between two looks at who is silent
PARTING: Final = 2.0  # seconds for a connection that was cut to be gone


class EmbeddedBroker:
    """A broker for the mesh `mesh_id` at the socket `path`. With a mesh key it demands passwords and checks rights."""

    def __init__(self, path: Path, mesh_id: str, mesh_key: bytes | None) -> None:
        self._path = path
        self._mesh_id = mesh_id
        self._mesh_key = mesh_key
        self._connections: dict[int, Connection] = {}
        self._count = 0
        self._stopping = False
        self._came: dict[str, float] = {}  # when a tile may come again, by user
        self._broker: RightsBroker | None = None
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. OSError when the socket cannot be made."""
        asyncio.get_running_loop().set_exception_handler(_ignore_cut_off)
        self._broker = RightsBroker(self._may_read, self._may_write)
        await self._broker.start()
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._path.unlink(missing_ok=True)  # a predecessor that was killed left it
        self._server = await asyncio.start_unix_server(self._connected, self._path, backlog=BACKLOG)
        self._path.chmod(0o600)
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Close all connections and the socket."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._server is not None:
            self._server.close()
        self._stopping = True
        for connection in list(self._connections.values()):
            connection.cut("the broker stops")
        for connection in list(self._connections.values()):
            await self._gone(connection)
        if self._broker is not None:
            await self._broker.shutdown()
        self._path.unlink(missing_ok=True)

    def _may_read(self, user: str, topic: str) -> bool:
        return self._mesh_key is None or rights.may_read(self._mesh_id, user, topic)

    def _may_write(self, user: str, topic: str) -> bool:
        return self._mesh_key is None or rights.may_write(self._mesh_id, user, topic)

    # --- one connection -----------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        connection = Connection(reader, writer, self._count)
        if self._stopping or len(self._connections) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections[connection.number] = connection
        try:
            await self._serve(connection)
        finally:
            del self._connections[connection.number]
            writer.transport.abort()
            connection.ended.set()
            if connection.refusal:
                log.info("bus: %s was cut off: %s", connection.user or "a stranger", connection.refusal)

    async def _serve(self, connection: Connection) -> None:
        admitted = await self._admit(connection)
        if admitted is None or self._broker is None:
            return
        if admitted.user != topics.OPERATOR:
            await self._take_turn(admitted.user)
        await self._make_room(admitted.user)
        connection.user, connection.patience = admitted.user, admitted.patience
        connection.heard = asyncio.get_running_loop().time()
        limited = topics.tile_of_user(admitted.user) is not None
        await self._broker.external_connected(
            PacketReader(connection, admitted.packet, limited=limited),
            BoundedWriter(connection, lambda: connection.user),
            LISTENER,
        )

    async def _admit(self, connection: Connection) -> Admitted | None:
        try:
            packet = await read_packet(connection.reader, FIRST_WORD)
            return await admit(packet, self._mesh_id, self._mesh_key, connection.number)
        except RefusedError as error:
            connection.refusal = str(error)
            with suppress(OSError):
                connection.writer.write(ConnackPacket.build(0, error.code).to_bytes())
        except BadPacketError as error:
            connection.refusal = str(error)
        except (asyncio.IncompleteReadError, OSError):
            pass
        return None

    async def _take_turn(self, user: str) -> None:
        """Let nobody keep the broker busy with connections."""
        now = asyncio.get_running_loop().time()
        self._came[user] = turn = max(now, self._came.get(user, 0.0) + AGAIN)
        if turn > now:
            await asyncio.sleep(min(turn - now, PARTING))

    async def _make_room(self, user: str) -> None:
        """End what the same user had: it comes anew because it lost it, whether we have noticed or not.

        Its will is published before anything that the new connection says.
        """
        known = [one for one in self._connections.values() if one.user == user]
        most = MOST_OF_ONE_USER if user == topics.OPERATOR else 1
        for connection in known[: len(known) - most + 1]:
            connection.cut("its user has connected again")
            await self._gone(connection)

    async def _gone(self, connection: Connection) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PARTING):
                await connection.ended.wait()

    # --- silence ------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Cut off who has been silent for too long: amqtt notices it and does nothing."""
        loop = asyncio.get_running_loop()
        due = loop.time() + SWEEP
        while True:
            await asyncio.sleep(due - loop.time())
            now = loop.time()
            # While this process stood still it heard nobody, whatever they said.
            standstill = now - due if now - due > SWEEP else 0.0
            for connection in list(self._connections.values()):
                connection.heard += standstill
                if now - connection.heard > connection.patience:
                    connection.cut(f"silent for {now - connection.heard:.1f} s")
            due = now + SWEEP


def _ignore_cut_off(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """amqtt leaves tasks behind for clients that were cut off in the middle of something; nobody asks what became."""
    if not isinstance(context.get("exception"), (ProtocolHandlerError, AMQTTError, MQTTError, NoDataError)):
        loop.default_exception_handler(context)
