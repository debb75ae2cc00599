"""How connections share the APP partition: who reads slowly or takes all it can starves nobody, and turns are kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dlibos_node.memory.buffers import Buffers
from dlibos_node.sockets.api import Connection
from dlibos_node.sockets.buffers import ALONE, LARGE, LONG, MEDIUM, SHORT, SMALL
from tests.support.applications import Recorder
from tests.support.world import Visitor, World


class Server:
    """One recorder per connection, in the order they came."""

    def __init__(self) -> None:
        self.kind: type[Recorder] = Recorder
        self.recorders: list[Recorder] = []

    def accept(self, connection: Connection) -> Recorder:
        self.recorders.append(self.kind())
        return self.recorders[-1].accept(connection)


class Persistent(Recorder):
    """Sends a small buffer's fill when it is offered room."""

    def sent(self) -> None:
        super().sent()
        self.link.send(bytes(SMALL))


class Room:
    """A chip whose APP partition a test can fill; `connect` gives the client's end and the application's."""

    def __init__(self) -> None:
        self.server = Server()
        self.world = World(self.server.accept)
        self.memory = self.world.chip.apps[0].sockets.memory
        self.filled: list[tuple[Buffers, int]] = []

    def connect(self, *, reading: bool = True) -> tuple[Visitor, Recorder]:
        visitor = self.world.connect()
        visitor.reading = reading
        return visitor, self.server.recorders[-1]

    def fill(self) -> None:
        while (taken := self.memory.take(LARGE)) is not None:
            self.filled.append(taken)

    def give(self, size: int) -> None:
        """Give back a buffer of `size` bytes, and let the application tile look."""
        index = next(i for i in range(len(self.filled) - 1, -1, -1) if self.filled[i][0].size == size)
        pool, slot = self.filled.pop(index)
        pool.put(slot)
        self.world.chip.apps[0].drain()


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.world.chip.close()


def take_all(recorder: Recorder, most: int = (SHORT + LONG)) -> int:
    """Fill and send buffers until the mesh refuses; return their bytes."""
    sent = 0
    while sent < most and (view := recorder.link.allocate(LARGE)) is not None:
        sent += len(view)
        recorder.link.commit(len(view))
    return sent


def test_one_that_reads_slowly_leaves_most_to_others(room: Room) -> None:
    _, hoarder = room.connect(reading=False)
    sent = take_all(hoarder)
    assert LONG // (ALONE + 4) <= sent <= LONG // ALONE
    visitor, other = room.connect()
    assert take_all(other) >= sent // 2
    room.world.pass_time(0.5)
    assert len(visitor.data) >= sent // 2


def test_readers_who_never_read_starve_nobody(room: Room) -> None:
    for _ in range(60):
        take_all(room.connect(reading=False)[1])
    visitor, late = room.connect()
    body = bytes(i % 251 for i in range(1_000_000))
    at = 0
    while at < len(body):
        at += put(late, body[at:])
        room.world.pass_time(0.01)
    room.world.pass_time(0.1)
    assert visitor.data == body


def put(recorder: Recorder, data: bytes) -> int:
    """Send the front of `data`, as much as one reservation holds; return its length."""
    view = recorder.link.allocate(min(len(data), LARGE))
    if view is None:
        return 0
    size = min(len(view), len(data))
    view[:size] = data[:size]
    recorder.link.commit(size)
    return size


def test_acknowledged_bytes_no_longer_count(room: Room) -> None:
    _, recorder = room.connect()
    sent = take_all(recorder)
    room.world.pass_time(0.5)
    assert room.memory.free == (SHORT + LONG)
    assert take_all(recorder) == sent


def test_refused_senders_are_served_in_turn_and_only_as_many_as_there_is_room_for(room: Room) -> None:
    room.server.kind = Persistent
    recorders = [room.connect()[1] for _ in range(3)]
    room.fill()
    assert not any(recorder.link.send(bytes(SMALL)) for recorder in recorders)
    for served in range(1, 4):
        room.give(SMALL)
        assert [recorder.calls for recorder in recorders] == [["sent"]] * served + [[]] * (3 - served)


def test_a_long_send_keeps_its_turn_until_there_is_room_for_it(room: Room) -> None:
    (_, long), (_, short) = room.connect(), room.connect()
    room.fill()
    assert not long.link.send(bytes(MEDIUM))
    assert not short.link.send(b"short")
    room.give(SMALL)
    assert (long.calls, short.calls) == ([], [])
    room.give(MEDIUM)
    assert (long.calls, short.calls) == (["sent"], ["sent"])


def test_one_refused_twice_has_one_turn(room: Room) -> None:
    _, recorder = room.connect()
    room.fill()
    assert not recorder.link.send(b"refused")
    assert recorder.link.allocate(100) is None
    room.give(LARGE)
    room.give(LARGE)
    assert recorder.calls == ["sent"]


def test_one_that_has_gone_holds_nobody_up(room: Room) -> None:
    (leaving, gone), (_, waiting) = room.connect(), room.connect()
    room.fill()
    assert not gone.link.send(bytes(LARGE))
    assert not waiting.link.send(b"x")
    room.world.act(leaving, "abort")
    room.give(SMALL)
    assert (gone.calls, waiting.calls) == (["reset"], ["sent"])


def test_one_with_bytes_under_way_waits_for_its_own_peer(room: Room) -> None:
    visitor, recorder = room.connect()
    assert recorder.link.send(b"under way")
    room.fill()
    assert not recorder.link.send(b"refused")
    room.world.chip.apps[0].drain()
    assert recorder.calls == []
    room.world.pass_time(0.1)
    assert recorder.calls == ["sent"]
    assert recorder.link.send(b", and then this")
    room.world.run()
    assert visitor.data == b"under way, and then this"


def test_a_send_longer_than_the_partition_is_asked_for_once_a_round(room: Room) -> None:
    _, recorder = room.connect()
    assert not recorder.link.send(bytes((SHORT + LONG) + 1))
    for calls in (["sent"], ["sent", "sent"]):
        room.world.chip.apps[0].drain()
        assert recorder.calls == calls
        assert not recorder.link.send(bytes((SHORT + LONG) + 1))
    assert room.memory.free == (SHORT + LONG)
