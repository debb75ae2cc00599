"""Who may connect to the embedded broker. A CONNECT packet is judged before amqtt sees it.

amqtt ends an existing session that has the same client id before it asks for the password, so a stranger could end the
orchestrator's. Here every connection that is let in gets a client id of its own, and no state outlives it: what matters
is retained.
"""

from __future__ import annotations

import hmac
import struct
from typing import Final, NamedTuple

from amqtt.adapters import BufferReader
from amqtt.errors import AMQTTError, CodecError, MQTTError, NoDataError
from amqtt.mqtt.connack import BAD_USERNAME_PASSWORD, IDENTIFIER_REJECTED, NOT_AUTHORIZED
from amqtt.mqtt.connect import ConnectPacket

from dlibos_orchestrator.bus import rights
from dlibos_orchestrator.model.credentials import bus_password

SILENCE: Final = 1.5  # keepalives, MQTT 3.1.1 section 3.1.2.10
PROTOCOL_LEVEL: Final = 4  # 3.1.1
UNACCEPTABLE: Final = 1  # section 3.2.2.3


class Admitted(NamedTuple):
    """A client that may come in: its CONNECT as amqtt is to see it, and the seconds it may be silent (or inf)."""

    user: str
    packet: bytes
    patience: float


class RefusedError(Exception):
    """A client that may not; `code` is the return code of the CONNACK, section 3.2.2.3."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


async def admit(packet: bytes, mesh_id: str, mesh_key: bytes | None, number: int) -> Admitted:
    """Judge the first packet of connection `number`. Raises RefusedError.

    Without a mesh key the mesh is not protected: everybody is who he says he is, and may do everything.
    """
    connect = await _parse(packet)
    user = connect.username or ""
    if mesh_key is not None:
        _check(connect, user, mesh_id, mesh_key)
    if not connect.clean_session_flag:
        raise RefusedError(f"{user} wants a session that outlives its connection", IDENTIFIER_REJECTED)
    keepalive = connect.keep_alive
    connect.client_id = f"{number}.{user}"
    connect.keep_alive = 0  # the broker's own look at silence does not go by amqtt's timers
    return Admitted(user, bytes(connect.to_bytes()), SILENCE * keepalive if keepalive else float("inf"))


async def _parse(packet: bytes) -> ConnectPacket:
    try:
        connect = await ConnectPacket.from_stream(BufferReader(packet))
        level = connect.proto_level
    except (AMQTTError, MQTTError, CodecError, NoDataError, ValueError, struct.error, IndexError) as error:
        raise RefusedError(f"the first packet is no CONNECT ({error})", UNACCEPTABLE) from error
    if connect.proto_name != "MQTT" or level != PROTOCOL_LEVEL:
        raise RefusedError("only MQTT 3.1.1 is spoken here", UNACCEPTABLE)
    return connect


def _check(connect: ConnectPacket, user: str, mesh_id: str, mesh_key: bytes) -> None:
    if rights.rights(mesh_id, user) == rights.Rights():
        raise RefusedError(f"there is no user {user!r}", BAD_USERNAME_PASSWORD)
    if not hmac.compare_digest(bus_password(mesh_key, user).encode(), (connect.password or "").encode()):
        raise RefusedError(f"wrong password for {user}", BAD_USERNAME_PASSWORD)
    if connect.will_flag and not rights.may_write(mesh_id, user, connect.will_topic or ""):
        raise RefusedError(f"{user} may not leave its will at {connect.will_topic!r}", NOT_AUTHORIZED)
