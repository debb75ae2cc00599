"""What a compromised tile may not do with buckets, leases and connections of others: refused, with its reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dlibos_node.memory.descriptor import APP_INDEX, partition_number
from dlibos_node.memory.fault import Fault
from dlibos_node.noc import tags
from dlibos_node.stack import transfer
from dlibos_node.stack.buckets import AWAY
from dlibos_node.stack.flow import Flow
from tests.support.applications import EchoServer
from tests.support.chip import BUCKETS
from tests.support.moving import MovingWorld

# Tiles of a (1, 3, 2) chip whose applications are in domains of their own.
DRIVER, VICTIM, EVIL, THIRD, APP, OTHER_APP = range(6)


class Scene:
    """Honest connections at all stack tiles; paused, so that receive buffers are out."""

    def __init__(self) -> None:
        self.server = EchoServer()
        self.world = MovingWorld(self.server.accept, stacks=3, apps=2, domains=(80, 81))
        self.chip = self.world.chip
        self.visitors = [self.world.connect(port) for port in (80, 81) for _ in range(16)]
        for handler in self.server.handlers:
            handler.connection.pause()
        for visitor in self.visitors:
            self.world.send(visitor, b"hello")

    def say(self, source: int, target: int, queue: int, tag: int, *words: int) -> None:
        self.chip.tiles[source].peers[target].post(queue, tag, *words)
        self.world.run()

    def flow_at(self, stack: int, app: int = APP) -> Flow:
        return next(flow for flow in self.chip.stacks[stack - VICTIM].host.flows if flow.app == app)

    def verify(self) -> None:
        """All go on, and each bucket has the holder it had."""
        for handler in self.server.handlers:
            handler.connection.resume()
        self.world.settle_application()
        assert [bytes(visitor.data) for visitor in self.visitors] == [b"hello"] * len(self.visitors)
        self.world.one_holder(everything=True)
        assert self.chip.drivers[0]._steering.buckets == list(self.chip.owners)

    def adopt(self, handle: int, words: list[int]) -> None:
        """The evil stack tile gives a connection to the third."""
        parts = -(-len(words) // 124)
        for part in range(parts):
            piece = words[part * 124 : (part + 1) * 124]
            self.say(EVIL, THIRD, tags.EVENTS, tags.ADOPT, handle, part | parts << 32, *piece)

    def words(self) -> list[int]:
        """A connection that the evil stack tile has, as it may give it away."""
        flow = self.flow_at(EVIL)
        self.handle = flow.handle
        return transfer.pack(flow, 0, self.world.now)


def steer_another_s_bucket(scene: Scene) -> None:
    scene.say(EVIL, DRIVER, tags.COMMANDS, tags.STEER, 1, THIRD, *tags.bucket_words([owned_by(scene, VICTIM)]))


def steer_no_bucket(scene: Scene) -> None:
    scene.say(EVIL, DRIVER, tags.COMMANDS, tags.STEER, 1, THIRD, *tags.bucket_words([BUCKETS]))


def steer_to_no_stack_tile(scene: Scene) -> None:
    scene.say(EVIL, DRIVER, tags.COMMANDS, tags.STEER, 1, APP, *tags.bucket_words([owned_by(scene, EVIL)]))


def pass_another_s_lease(scene: Scene) -> None:
    scene.say(EVIL, DRIVER, tags.RELEASES, tags.PASS, THIRD, scene.flow_at(VICTIM).unread[0].lease)


def leave_what_was_not_moved(scene: Scene) -> None:
    scene.say(APP, VICTIM, tags.COMMANDS, tags.LEFT, scene.flow_at(VICTIM).handle)


def adopted_what_was_not_given(scene: Scene) -> None:
    scene.say(EVIL, VICTIM, tags.EVENTS, tags.ADOPTED, scene.flow_at(VICTIM).handle)


def adopt_nonsense(scene: Scene) -> None:
    words = scene.words()
    words[25] = 1 << 31
    scene.adopt(77, words)


def adopt_the_middle(scene: Scene) -> None:
    scene.say(EVIL, THIRD, tags.EVENTS, tags.ADOPT, 77, 1 | 2 << 32, 5)


def adopt_a_handle_in_use(scene: Scene) -> None:
    words = scene.words()
    scene.adopt(scene.flow_at(THIRD).handle, words)


def adopt_into_a_bucket_of_the_receiver(scene: Scene) -> None:
    words = scene.words()
    buckets = scene.chip.stacks[2].host.buckets
    words[0] = next(key for key in range(1 << 48, (1 << 48) + 1000) if buckets.state(buckets.of(key)) != AWAY)
    scene.adopt(77, words)


def adopt_for_nobody(scene: Scene) -> None:
    words = scene.words()
    words[1] = words[1] & ~(0xFFFF << 32) | DRIVER << 32
    scene.adopt(77, words)


def adopt_for_an_application_of_another_domain(scene: Scene) -> None:
    words = scene.words()
    words[1] = words[1] & ~(0xFFFF << 32) | OTHER_APP << 32
    scene.adopt(77, words)


def adopt_with_another_s_payload(scene: Scene) -> None:
    words = scene.words()
    words[25] = 4  # unsent
    words[26] += 1  # queued spans
    scene.adopt(77, [*words, 4, partition_number(OTHER_APP, APP_INDEX) << 48])


def adopt_with_an_application_s_memory_as_received(scene: Scene) -> None:
    words = scene.words()
    words[transfer.HEAD + 1] = partition_number(APP, APP_INDEX) << 48
    scene.adopt(77, words)


def give_a_bucket_of_the_receiver(scene: Scene) -> None:
    scene.say(EVIL, THIRD, tags.EVENTS, tags.BUCKETS, *tags.bucket_words([owned_by(scene, THIRD)]))


def moving_another_s_connection(scene: Scene) -> None:
    scene.say(EVIL, APP, tags.EVENTS, tags.MOVING, scene.flow_at(VICTIM).handle, EVIL)


def moved_what_was_not_moving(scene: Scene) -> None:
    scene.say(EVIL, APP, tags.EVENTS, tags.MOVED, scene.flow_at(VICTIM).handle, 0)


def end_another_s_connection(scene: Scene) -> None:
    scene.say(EVIL, APP, tags.EVENTS, tags.DEAD, scene.flow_at(VICTIM).handle, 1)


def connect_with_another_s_handle(scene: Scene) -> None:
    scene.say(EVIL, APP, tags.EVENTS, tags.CONNECTED, scene.flow_at(VICTIM).handle, 80)


def orphans_of_another_domain(scene: Scene) -> None:
    scene.say(APP, VICTIM, tags.COMMANDS, tags.ORPHANS, 0x0A4D0001 << 32 | 9 << 16 | 81)


def owned_by(scene: Scene, stack: int) -> int:
    return scene.chip.owners.index(stack)


ATTACKS: list[tuple[Callable[[Scene], None], Fault]] = [
    (steer_another_s_bucket, Fault.BUCKET),
    (steer_no_bucket, Fault.BUCKET),
    (steer_to_no_stack_tile, Fault.BUCKET),
    (pass_another_s_lease, Fault.HOLDER),
    (leave_what_was_not_moved, Fault.CONNECTION),
    (adopted_what_was_not_given, Fault.CONNECTION),
    (adopt_nonsense, Fault.STATE),
    (adopt_the_middle, Fault.STATE),
    (adopt_a_handle_in_use, Fault.STATE),
    (adopt_into_a_bucket_of_the_receiver, Fault.BUCKET),
    (adopt_for_nobody, Fault.CONNECTION),
    (adopt_for_an_application_of_another_domain, Fault.PORT),
    (adopt_with_another_s_payload, Fault.PARTITION),
    (adopt_with_an_application_s_memory_as_received, Fault.PARTITION),
    (give_a_bucket_of_the_receiver, Fault.BUCKET),
    (moving_another_s_connection, Fault.CONNECTION),
    (moved_what_was_not_moving, Fault.CONNECTION),
    (end_another_s_connection, Fault.CONNECTION),
    (connect_with_another_s_handle, Fault.CONNECTION),
    (orphans_of_another_domain, Fault.PORT),
]


@pytest.mark.parametrize(("act", "fault"), ATTACKS, ids=[act.__name__ for act, _ in ATTACKS])
def test_it_is_refused_and_all_goes_on(act: Callable[[Scene], None], fault: Fault) -> None:
    scene = Scene()
    assert not scene.chip.faults()
    act(scene)
    reasons = {reason for reason, _ in scene.chip.faults()}
    # The culprit's own tile may wonder about the answer (STEERED, PASSED) to what it never said.
    assert fault in reasons
    scene.verify()


def test_an_application_cannot_move_a_neighbour_s_connection() -> None:
    scene = Scene()
    stack, flow = scene.chip.stacks[0], scene.flow_at(VICTIM)
    scene.chip.blocked.add((VICTIM, APP))  # the owner has not heard of the move yet
    scene.world.assign(bytes(THIRD if owner == VICTIM else owner for owner in scene.chip.owners))
    scene.say(OTHER_APP, VICTIM, tags.COMMANDS, tags.MOVE, flow.handle)
    assert scene.chip.faults() == {(Fault.CONNECTION, OTHER_APP): 1}
    assert stack.host.flows.find(flow.handle) is flow
    scene.chip.blocked.clear()
    scene.world.run()
    assert stack.host.flows.find(flow.handle) is None
    scene.verify()


def test_leases_that_were_never_passed_hold_up_nobody_for_long() -> None:
    scene = Scene()
    words = scene.words()
    scene.adopt(77, words)
    third = scene.chip.stacks[2]
    seen = [third.arrivals.busy]
    scene.world.pass_time(6, step=0.5)
    assert [*seen, third.arrivals.busy] == [True, False]
    assert scene.chip.faults() == {(Fault.HOLDER, EVIL): 1}
    scene.verify()
