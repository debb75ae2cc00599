"""A driver tile's way out of the mesh, so that nobody at either end of a connection notices.

    QUIET     the device takes no new connections, and those that no other driver can carry end (the user-mode NIC's)
    LEAVING   WITHDRAW to every stack tile: they send by other drivers, so that the kernel's flows follow there
    DETACHED  the queue was read empty and detached, what it held has been handed on
    DONE      the last buffer has come back: nobody reads this tile's memory any more

A buffer may stay out for long: an application that has paused a connection does not consume. After LEASES seconds the
tile may end anyway: the memory of a process that has ended stays as it was for those who have it mapped, as long as
they read it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from dlibos_node.nic.device import Device
from dlibos_node.noc import tags
from dlibos_node.noc.peer import Peer
from dlibos_node.roles.reception import Reception
from dlibos_node.roles.role import Clock

log = logging.getLogger(__name__)

QUIET: Final = 0
LEAVING: Final = 1
DETACHED: Final = 2
DONE: Final = 3

LEASES: Final = 10.0  # seconds
POLL: Final = 0.05  # seconds between two looks at what tells nobody when it changes
MOST_READS: Final = 256  # times BUDGET frames: eight full queues; more comes only from a device that is never empty


class Withdrawal:
    """The steps above. `stacks` returns the stack tiles of the mesh as they are now.

    `read` hands on what the device has, BUDGET frames at most; `flush` sends what waits, to all.
    """

    __slots__ = ("_clock", "_device", "_flush", "_memory", "_read", "_since", "_stacks", "_told", "state")

    def __init__(
        self,
        device: Device,
        memory: Reception,
        clock: Clock,
        stacks: Callable[[], list[Peer]],
        read: Callable[[], None],
        flush: Callable[[], None],
    ) -> None:
        self.state = QUIET
        self._device = device
        self._memory = memory
        self._clock = clock
        self._stacks = stacks
        self._read = read
        self._flush = flush
        self._told: set[int] = set()  # stack tiles that have not answered WITHDRAW
        self._since = 0.0  # when the queue was detached

    def start(self) -> None:
        """Begin; the clock does the rest, and the calls below."""
        self._device.quiesce()
        self._poll()

    def _poll(self) -> None:
        self.step()
        if self.state != DONE:
            self._clock.call_at(self._clock.time() + POLL, self._poll)

    def step(self) -> None:
        """Go on as far as that is possible now."""
        if self.state == QUIET and self._device.idle:
            self.state = LEAVING
            for peer in self._stacks():
                if peer.up:
                    self.tell(peer)
            self._flush()
        if self.state == LEAVING and not self._told:
            self._detach()
        if self.state == DETACHED and self._all_is_back():
            self.state = DONE

    def tell(self, peer: Peer) -> None:
        """Ask a stack tile whose link is up to send nothing by way of this tile."""
        if self.state != QUIET:
            self._told.add(peer.number)
            peer.post(tags.EVENTS, tags.WITHDRAW)

    def answered(self, number: int) -> None:
        """A stack tile has said WITHDRAWN, or is gone."""
        self._told.discard(number)

    def _detach(self) -> None:
        statistics = self._device.statistics
        for _ in range(MOST_READS):
            before = statistics.rx_frames
            self._read()
            if statistics.rx_frames == before:
                break
        self._device.detach()
        self._flush()
        self._since = self._clock.time()
        self.state = DETACHED

    def _all_is_back(self) -> bool:
        out = self._memory.in_use
        if out and self._clock.time() - self._since >= LEASES:
            log.warning("%d receive buffers are still out after %g s: they are left to their readers", out, LEASES)
            return True
        return out == 0
