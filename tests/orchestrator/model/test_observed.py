from __future__ import annotations

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model import observed
from dlibos_orchestrator.model.observed import Observed

STACK = mesh_pb2.ROLE_STACK


def said(incarnation: int = 7, sequence: int = 1, **more: object) -> mesh_pb2.TileStatus:
    told = {"role": STACK, "pid": 100, "ready": True, **more}
    return mesh_pb2.TileStatus(tile=1, incarnation=incarnation, sequence=sequence, **told)  # type: ignore[arg-type]


def after(*words: mesh_pb2.TileStatus, pid: int = 100) -> Observed:
    seen = observed.process(None, 1, pid, 1.0)
    for number, word in enumerate(words):
        seen = observed.status(seen, word, 2.0 + number) or seen
    return seen


def test_a_word_is_taken_over_as_it_is() -> None:
    seen = after(said(epoch=4, held=b"\x05", linked=[0, 2], connections=9, problem="p"))
    assert (seen.ready, seen.epoch, seen.held, seen.linked) == (True, 4, b"\x05", frozenset({0, 2}))
    assert (seen.role, seen.connections, seen.problem, seen.heard, seen.started) == (STACK, 9, "p", 2.0, 1.0)
    assert seen.up


def test_late_and_repeated_words_change_nothing() -> None:
    newest = after(said(sequence=3, epoch=5))
    for late in (said(sequence=3, epoch=1), said(sequence=2, epoch=1), said(incarnation=6, sequence=9, epoch=1)):
        assert observed.status(newest, late, 9.0) == newest


def test_the_word_of_the_process_before_is_not_the_new_ones() -> None:
    assert not after(said(pid=99)).spoken
    assert after(said(pid=100)).spoken


def test_a_new_process_has_said_nothing_yet() -> None:
    seen = observed.process(after(said(held=b"\xff")), 1, 101, 5.0, STACK, incarnation=8)
    assert (seen.spoken, seen.held, seen.started, seen.incarnation) == (False, b"", 5.0, 8)
    assert observed.status(seen, said(sequence=9), 6.0) == seen, "the old process's last word comes late"
    newer = observed.status(seen, said(incarnation=8, pid=101), 6.0)
    assert newer is not None
    assert newer.up


def test_a_process_that_ends_is_neither_up_nor_believed() -> None:
    seen = observed.process(after(said(held=b"\xff")), 1, 0, 5.0)
    assert (seen.alive, seen.up, seen.held, seen.ended) == (False, False, b"", 5.0)
    assert observed.process(seen, 1, 0, 8.0).ended == 5.0, "it ended when it was first seen to be gone"
    assert observed.status(seen, said(sequence=2), 6.0) == seen


def test_a_will_counts_for_its_own_process_until_it_speaks_again() -> None:
    seen = after(said())
    will = mesh_pb2.TileStatus(tile=1, incarnation=7, gone=True)
    lost = observed.status(seen, will, 3.0)
    assert lost is not None
    assert not lost.up
    assert lost.heard == seen.heard
    again = observed.status(lost, said(), 4.0)  # the same word, published anew after a reconnect
    assert again is not None
    assert again.up
    beat = observed.load(lost, mesh_pb2.TileLoad(tile=1, incarnation=7), 4.0)
    assert beat is not None
    assert beat.up
    other = mesh_pb2.TileStatus(tile=1, incarnation=6, gone=True)
    assert observed.status(seen, other, 3.0) == seen


def test_a_heartbeat_of_another_process_is_ignored() -> None:
    seen = after(said())
    assert observed.load(seen, mesh_pb2.TileLoad(tile=1, incarnation=6, busy=1.0), 3.0) == seen
    beat = observed.load(seen, mesh_pb2.TileLoad(tile=1, incarnation=7, busy=0.5, connections=3), 3.0)
    assert beat is not None
    assert (beat.busy, beat.connections, beat.heard) == (0.5, 3, 3.0)
    assert observed.load(None, mesh_pb2.TileLoad(tile=1), 3.0) is None


def test_a_gap_in_what_it_says_is_remembered() -> None:
    seen = after(said())
    beat = mesh_pb2.TileLoad(tile=1, incarnation=7)
    regular = observed.load(seen, beat, seen.heard + 1.0)
    late = observed.load(seen, beat, seen.heard + observed.GAP + 0.1)
    assert regular is not None
    assert late is not None
    assert (regular.awake, late.awake) == (seen.awake, late.heard)


def test_bitmaps_of_buckets() -> None:
    assert observed.bitmap([0, 2, 9], 12) == b"\x05\x02"
    assert observed.buckets(b"\x05\x02") == {0, 2, 9}
