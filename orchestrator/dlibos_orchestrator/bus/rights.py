"""Who may read and write which topic. Pure; both brokers enforce it: embedded.py calls it, mosquitto.py writes it down.

| user         | reads          | writes                                  |
|---|---|---|
| tile-N       | tile/N/desired | tile/N/observed tile/N/load tile/N/fault |
| operator     | all            | orchestrator/request                    |
| orchestrator | all            | all                                     |
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dlibos_orchestrator.bus import topics

ANY_LEVEL: Final = "+"  # MQTT 3.1.1 section 4.7.1
ANY_REST: Final = "#"


class Rights(NamedTuple):
    """Topic filters a user may subscribe to, and publish to."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


def rights(mesh_id: str, user: str) -> Rights:
    """Return the rights of a user of this mesh; a stranger has none."""
    everything = (topics.mesh_topics(mesh_id),)
    if user == topics.ORCHESTRATOR:
        return Rights(everything, everything)
    if user == topics.OPERATOR:
        return Rights(everything, (topics.orchestrator_topic(mesh_id, "request"),))
    tile = topics.tile_of_user(user)
    if tile is None:
        return Rights()
    return Rights(
        (topics.tile_topic(mesh_id, tile, "desired"),),
        tuple(topics.tile_topic(mesh_id, tile, kind) for kind in topics.TILE_SAYS),
    )


def may_read(mesh_id: str, user: str, topic: str) -> bool:
    """Tell whether a user may subscribe to a topic or filter, or be sent a message of it."""
    return any(covers(granted, topic) for granted in rights(mesh_id, user).read)


def may_write(mesh_id: str, user: str, topic: str) -> bool:
    """Tell whether a user may publish to a topic, or leave a last will there."""
    plain = ANY_LEVEL not in topic and ANY_REST not in topic
    return plain and any(covers(granted, topic) for granted in rights(mesh_id, user).write)


def covers(granted: str, asked: str) -> bool:
    """Tell whether every topic that the filter `asked` matches is one that `granted` matches."""
    wanted = asked.split("/")
    for place, level in enumerate(granted.split("/")):
        if level == ANY_REST:
            return True
        if place >= len(wanted) or wanted[place] == ANY_REST:
            return False
        if level not in (ANY_LEVEL, wanted[place]):
            return False
    return len(granted.split("/")) == len(wanted)
