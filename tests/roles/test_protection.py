"""What compromised tiles say is refused, counted with its reason and sender, answered, and does no harm to others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dlibos_node.memory import descriptor, layout
from dlibos_node.memory.fault import CODES, Fault
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.roles.driver import Drop
from tests.support.applications import EchoServer
from tests.support.world import Visitor, World

# Tiles of a (1, 2, 3) chip: the third application is in another domain than the first two.
DRIVER, STACK, OTHER_STACK, APP, NEIGHBOUR, STRANGER = range(6)


class Attack:
    """A world with two domains, and honest clients of both; `say` speaks in the name of a compromised tile."""

    def __init__(self, *, protected: bool = True) -> None:
        self.server = EchoServer()
        self.world = World(self.server.accept, stacks=2, apps=3, protected=protected, domains=(80, 81))
        self.visitors = [self.world.connect(port) for port in (80, 81) for _ in range(20)]
        self.chip = self.world.chip

    def say(self, source: int, target: int, queue: int, tag: int, *words: int) -> None:
        self.chip.tiles[source].peers[target].post(queue, tag, *words)
        self.world.run()

    def peer(self, source: int, target: int) -> Peer:
        return self.chip.tiles[source].peers[target]

    def flow_of(self, app: int) -> tuple[int, int]:
        """The stack tile and handle of a connection of an application tile."""
        for number in (STACK, OTHER_STACK):
            for flow in self.chip.stacks[number - STACK].host.flows:
                if flow.app == app:
                    return number, flow.handle
        raise AssertionError("the application has no connection")

    def buffer_of(self, app: int) -> tuple[int, int]:
        """Place and lease word of a buffer an application tile took for itself."""
        memory = self.chip.apps[app - APP].sockets.memory
        slot = memory.small.take()
        memory.view[memory.small.offset(slot) : memory.small.offset(slot) + 6] = b"secret"
        return memory.small.offset(slot) << 32 | 6, memory.small.lease(slot)

    def verify(self) -> None:
        """Every honest client is served."""
        for visitor in self.visitors:
            before = len(visitor.data)
            self.world.send(visitor, b"still there?")
            assert visitor.data[before:] == b"still there?"


def echoed(visitors: list[Visitor]) -> bytes:
    return b"".join(bytes(visitor.data) for visitor in visitors)


# --- application tiles ----------------------------------------------------------------------------------------------


def send_foreign_memory(attack: Attack) -> None:
    stack, handle = attack.flow_of(APP)
    attack.say(APP, stack, tags.COMMANDS, tags.SEND, handle, *attack.buffer_of(STRANGER))


def send_beyond_the_buffer(attack: Attack) -> None:
    stack, handle = attack.flow_of(APP)
    place, lease = attack.buffer_of(APP)
    attack.say(APP, stack, tags.COMMANDS, tags.SEND, handle, place + layout.APP.pools[0].size, lease)


def send_beyond_the_partition(attack: Attack) -> None:
    stack, handle = attack.flow_of(APP)
    _, lease = attack.buffer_of(APP)
    attack.say(APP, stack, tags.COMMANDS, tags.SEND, handle, layout.APP.size << 32 | 1, lease)


def send_a_stale_buffer(attack: Attack) -> None:
    stack, handle = attack.flow_of(APP)
    place, lease = attack.buffer_of(APP)
    memory = attack.chip.apps[0].sockets.memory
    memory.small.put((place >> 32) // memory.small.size)
    attack.say(APP, stack, tags.COMMANDS, tags.SEND, handle, place, lease)


def send_on_another_s_connection(attack: Attack) -> None:
    stack, handle = attack.flow_of(STRANGER)
    attack.say(APP, stack, tags.COMMANDS, tags.SEND, handle, *attack.buffer_of(APP))


def close_another_s_connection(attack: Attack) -> None:
    stack, handle = attack.flow_of(STRANGER)
    attack.say(APP, stack, tags.COMMANDS, tags.ABORT, handle)


def release_for_another(attack: Attack) -> None:
    stack, handle = attack.flow_of(STRANGER)
    attack.say(APP, stack, tags.COMMANDS, tags.RECV_DONE, handle, 1)


def release_twice(attack: Attack) -> None:
    stack, handle = attack.flow_of(APP)
    attack.say(APP, stack, tags.COMMANDS, tags.RECV_DONE, handle, 1 << 20)


def inject_a_frame(attack: Attack) -> None:
    stack, _ = attack.flow_of(APP)
    attack.say(APP, stack, tags.EVENTS, tags.RX, *attack.buffer_of(APP))


def finish_headers(attack: Attack) -> None:
    attack.say(APP, STACK, tags.RELEASES, tags.TX_DONE, 100)


def take_a_port(attack: Attack) -> None:
    attack.say(APP, STACK, tags.COMMANDS, tags.LISTEN, 80 if attack.chip.ports[APP % 2] == 81 else 81, 0)


# --- stack tiles ----------------------------------------------------------------------------------------------------


def header_of(attack: Attack, number: int) -> tuple[int, int]:
    partition = descriptor.partition_number(number, descriptor.TX_INDEX)
    generation = attack.chip.tiles[DRIVER].foreign.partitions[partition].generations[0]
    return 54, descriptor.lease(partition, generation)


def transmit_another_s_header(attack: Attack) -> None:
    attack.say(OTHER_STACK, DRIVER, tags.COMMANDS, tags.TX, 0, *header_of(attack, STACK))


def transmit_beyond_a_header(attack: Attack) -> None:
    place, lease = header_of(attack, OTHER_STACK)
    attack.say(OTHER_STACK, DRIVER, tags.COMMANDS, tags.TX, 0, place + 4096, lease)


def transmit_receive_memory(attack: Attack) -> None:
    rx = descriptor.lease(descriptor.partition_number(DRIVER, 1), 0)
    attack.say(OTHER_STACK, DRIVER, tags.COMMANDS, tags.TX, 0, *header_of(attack, OTHER_STACK), 100, rx)


def transmit_stale_payload(attack: Attack) -> None:
    place, lease = attack.buffer_of(APP)
    stale = lease ^ 1 << 32
    attack.say(OTHER_STACK, DRIVER, tags.COMMANDS, tags.TX, 0, *header_of(attack, OTHER_STACK), place, stale)


def release_another_s_lease(attack: Attack) -> None:
    small = attack.chip.drivers[0].memory.memories[1].small
    slot = small.take()
    word = small.lend(slot, STACK) | small.offset(slot)
    attack.say(OTHER_STACK, DRIVER, tags.RELEASES, tags.RELEASE, word)
    assert small.release(word, STACK) is None


def release_a_lease_twice(attack: Attack) -> None:
    small = attack.chip.drivers[0].memory.memories[1].small
    slot = small.take()
    word = small.lend(slot, OTHER_STACK) | small.offset(slot)
    attack.say(OTHER_STACK, DRIVER, tags.RELEASES, tags.RELEASE, word, word)


def release_another_partition(attack: Attack) -> None:
    word = descriptor.lease(descriptor.partition_number(APP, descriptor.APP_INDEX), 0)
    attack.say(OTHER_STACK, DRIVER, tags.RELEASES, tags.RELEASE, word)


def receive_from_another_domain(attack: Attack) -> None:
    app = attack.chip.apps[1].sockets
    key = next(iter(app._sockets))
    other = descriptor.lease(descriptor.partition_number(DRIVER, 1 if (NEIGHBOUR % 2 + 1) == 2 else 2), 0)
    attack.say(key >> 32, NEIGHBOUR, tags.EVENTS, tags.RECV, key, 8, other)
    attack.visitors = [visitor for visitor in attack.visitors if visitor.reason is None]  # one of its own paid for it


def acknowledge_what_was_not_sent(attack: Attack) -> None:
    key = next(iter(attack.chip.apps[1].sockets._sockets))
    attack.say(key >> 32, NEIGHBOUR, tags.EVENTS, tags.SENT, key, 1 << 20)


# --- driver tiles ---------------------------------------------------------------------------------------------------


def frame_in_another_s_memory(attack: Attack) -> None:
    attack.say(DRIVER, STACK, tags.EVENTS, tags.RX, *attack.buffer_of(APP))


def frame_out_of_bounds(attack: Attack) -> None:
    rx = descriptor.lease(descriptor.partition_number(DRIVER, 1), 0)
    attack.say(DRIVER, STACK, tags.EVENTS, tags.RX, layout.RX.payload << 32 | 64, rx)


def finish_more_than_was_sent(attack: Attack) -> None:
    attack.say(DRIVER, STACK, tags.RELEASES, tags.TX_DONE, 1 << 30)


def command_as_an_application(attack: Attack) -> None:
    stack, handle = attack.flow_of(APP)
    attack.say(DRIVER, stack, tags.COMMANDS, tags.ABORT, handle)


ATTACKS: list[tuple[Callable[[Attack], None], Fault, int]] = [
    (send_foreign_memory, Fault.PARTITION, APP),
    (send_beyond_the_buffer, Fault.BOUNDS, APP),
    (send_beyond_the_partition, Fault.BOUNDS, APP),
    (send_a_stale_buffer, Fault.GENERATION, APP),
    (send_on_another_s_connection, Fault.CONNECTION, APP),
    (close_another_s_connection, Fault.CONNECTION, APP),
    (release_for_another, Fault.CONNECTION, APP),
    (release_twice, Fault.EXCESS, APP),
    (inject_a_frame, Fault.ROLE, APP),
    (finish_headers, Fault.ROLE, APP),
    (take_a_port, Fault.PORT, APP),
    (transmit_another_s_header, Fault.PARTITION, OTHER_STACK),
    (transmit_beyond_a_header, Fault.BOUNDS, OTHER_STACK),
    (transmit_receive_memory, Fault.PARTITION, OTHER_STACK),
    (transmit_stale_payload, Fault.GENERATION, OTHER_STACK),
    (release_another_s_lease, Fault.HOLDER, OTHER_STACK),
    (release_a_lease_twice, Fault.GENERATION, OTHER_STACK),
    (release_another_partition, Fault.PARTITION, OTHER_STACK),
    (receive_from_another_domain, Fault.PARTITION, -1),
    (acknowledge_what_was_not_sent, Fault.EXCESS, -1),
    (frame_in_another_s_memory, Fault.PARTITION, DRIVER),
    (frame_out_of_bounds, Fault.BOUNDS, DRIVER),
    (finish_more_than_was_sent, Fault.EXCESS, DRIVER),
    (command_as_an_application, Fault.ROLE, DRIVER),
]


@pytest.mark.parametrize(("act", "fault", "culprit"), ATTACKS, ids=[act.__name__ for act, _, _ in ATTACKS])
def test_a_breach_is_refused_and_the_others_go_on(act: Callable[[Attack], None], fault: Fault, culprit: int) -> None:
    attack = Attack()
    attack.verify()
    assert not attack.chip.faults()
    act(attack)
    # The culprit's own tile may wonder about the answer to what it never said.
    reports = [(*key, tile.number) for tile in attack.chip.tiles for key in tile.faults.counts]
    [(reason, source, _)] = [report for report in reports if report[2] != culprit]
    assert reason is fault
    assert culprit in (source, -1)
    assert b"secret" not in echoed(attack.visitors)
    assert sum(tile.faults.answered.total() for tile in attack.chip.tiles) == attack.chip.faults().total()
    attack.verify()


def test_the_answer_names_the_reason_and_the_message() -> None:
    attack = Attack()
    take_a_port(attack)
    event = attack.chip.tiles[STACK].faults.events[0]
    assert event == (APP, Fault.PORT, tags.LISTEN)
    assert CODES[Fault.PORT] == list(Fault).index(Fault.PORT) + 1


def test_a_flood_of_bad_messages_fills_no_memory_with_answers() -> None:
    attack = Attack()
    faults = attack.chip.tiles[STACK].faults
    for _ in range(5000):
        faults.report(APP, Fault.ROLE, tags.RX)
    assert sum(map(len, attack.peer(STACK, APP).waiting)) < 1000
    assert faults.total == 5000


def test_one_buffer_sent_again_and_again_fills_no_memory() -> None:
    attack = Attack()
    stack, handle = attack.flow_of(APP)
    place, lease = attack.buffer_of(APP)
    words = [handle, *([place - 6 + layout.APP.pools[0].size, lease] * 62)]
    for _ in range(layout.APP.slots // 62 + 40):
        attack.peer(APP, stack).post(tags.COMMANDS, tags.SEND, *words)
    attack.world.run()
    [(reason, source)] = attack.chip.tiles[stack].faults.counts
    assert (reason, source) == (Fault.EXCESS, APP)
    attack.verify()


def test_who_asks_and_takes_no_answers_fills_no_memory() -> None:
    attack = Attack()
    peer = attack.peer(STACK, APP)
    peer.credits = [0] * len(peer.credits)
    for _ in range(5000):
        attack.peer(APP, STACK).post(tags.COMMANDS, tags.LISTEN, 80, 0)
    attack.world.run()
    assert sum(map(len, peer.waiting)) < 5000
    assert attack.chip.tiles[STACK].faults.counts[Fault.EXCESS, APP] > 3000


@pytest.mark.parametrize("act", [send_on_another_s_connection, close_another_s_connection, send_foreign_memory])
def test_the_same_breach_succeeds_without_protection(act: Callable[[Attack], None]) -> None:
    attack = Attack(protected=False)
    attack.verify()
    act(attack)
    ended = [visitor for visitor in attack.visitors if visitor.reason is not None]
    assert ended or b"secret" in echoed(attack.visitors)
    assert not attack.chip.faults()


def test_a_forged_release_without_protection_is_believed() -> None:
    attack = Attack(protected=False)
    small = attack.chip.drivers[0].memory.memories[1].small
    slot = small.take()
    word = small.lend(slot, STACK) | small.offset(slot)
    before = small.free
    attack.say(OTHER_STACK, DRIVER, tags.RELEASES, tags.RELEASE, word)
    assert small.free == before + 1
    attack.say(OTHER_STACK, DRIVER, tags.RELEASES, tags.RELEASE, word ^ 63 << 48)
    assert attack.chip.drivers[0].drops[Drop.DESCRIPTOR] == 1


def test_two_domains_never_have_each_other_s_frames() -> None:
    attack = Attack()
    attack.verify()
    chip = attack.chip
    first, second = (chip.drivers[0].memory.memories[domain] for domain in (1, 2))
    marks = {80: b"for port 80 alone", 81: b"for port 81 alone"}
    for visitor, port in zip(attack.visitors, [80] * 20 + [81] * 20, strict=True):
        attack.world.send(visitor, marks[port])
    assert marks[80] in bytes(first.view)
    assert marks[81] not in bytes(first.view)
    assert marks[81] in bytes(second.view)
    assert marks[80] not in bytes(second.view)
    for app in chip.apps:
        domain = chip.ports.index(app.sockets._port) + 1
        assert {number & descriptor.INDEX_MASK for number in app.sockets._partitions} == {domain}


def test_a_domain_that_hoards_its_buffers_starves_itself_alone() -> None:
    attack = Attack()
    hoarder = attack.chip.drivers[0].memory.memories[1]
    while hoarder.small.take() >= 0:
        pass
    while hoarder.large.take() >= 0:
        pass
    of_first, of_second = attack.visitors[:20], attack.visitors[20:]
    for visitor in of_first:
        attack.world.send(visitor, b"lost")
    attack.visitors = of_second
    attack.verify()
    assert hoarder.overflowed > 0
    assert echoed(of_first) == b""
