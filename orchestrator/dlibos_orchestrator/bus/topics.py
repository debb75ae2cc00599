"""Names on the bus: topics, users, the socket. proto/dlibos/control/v1/orchestrator.proto says what is said where."""

from __future__ import annotations

from typing import Final, NamedTuple

ORCHESTRATOR: Final = "orchestrator"
OPERATOR: Final = "operator"
SOCKET: Final = "bus/sock"  # in the mesh's directory; Mesh.bus has it in full
MOST_BYTES: Final = 512 << 10  # of a packet: a mesh of 256 tiles with 65536 buckets, as JSON, takes 200 KiB
TILE_SAYS: Final = ("observed", "load", "fault")
"""The last levels of the topics that a tile writes."""


class TileTopic(NamedTuple):
    """Topic dlibos/MESH/tile/T/KIND, taken apart."""

    tile: int
    kind: str


def tile_user(tile: int) -> str:
    """Return the user name of a tile."""
    return f"tile-{tile}"


def tile_of_user(user: str) -> int | None:
    """Return the tile a user name stands for; None: it is no tile's."""
    number = user.removeprefix("tile-")
    return int(number) if number != user and number.isascii() and number.isdecimal() else None


def mesh_topics(mesh_id: str) -> str:
    """Return the filter of all topics of a mesh."""
    return f"dlibos/{mesh_id}/#"


def tile_topic(mesh_id: str, tile: int | str, kind: str) -> str:
    """Return a topic of a tile: "desired", "observed", "load" or "fault"; tile "+" is a filter for all tiles."""
    return f"dlibos/{mesh_id}/tile/{tile}/{kind}"


def orchestrator_topic(mesh_id: str, kind: str) -> str:
    """Return a topic of the orchestrator: "observed", "event", "request" or "reply/ID"."""
    return f"dlibos/{mesh_id}/orchestrator/{kind}"


def parse_tile_topic(mesh_id: str, topic: str) -> TileTopic | None:
    """Return whose topic it is and what is said there; None: it is none of a tile of this mesh."""
    tile, _, kind = topic.removeprefix(f"dlibos/{mesh_id}/tile/").partition("/")
    if not (tile.isascii() and tile.isdecimal()) or topic != tile_topic(mesh_id, int(tile), kind):
        return None
    return TileTopic(int(tile), kind)
