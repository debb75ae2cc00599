"""The partitions of other tiles that this one reads, mapped for as long as their owner lives.

The owner keeps the connection open over which it handed its memory over: when it ends, the next process of that tile is
asked anew. Its memory takes the old one's place; if none comes, the old one goes after LINGER seconds. Payload that was
acknowledged to a client and lies in a dead driver tile's memory is read in that time. Buffers that are still being read
keep the old memory until they are let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable
from typing import Final

from dlibos_node.errors import PartitionError, RefusedError
from dlibos_node.greeting import Refusal
from dlibos_node.identity import Credentials
from dlibos_node.memory import descriptor
from dlibos_node.memory.fault import Fault
from dlibos_node.memory.handover import MAPPED, fetch
from dlibos_node.memory.partition import Partition

log = logging.getLogger(__name__)

LINGER: Final = 2.0  # seconds; messages that name a dead driver tile's memory may still be on their way
RETRY: Final = 1.0  # seconds, after an answer that made no sense
RETRY_EARLY: Final = 0.1  # seconds, after one that will be another when the owner has heard of this tile


class Foreign:
    """`partitions` are those mapped now, by number; `entitled` those this tile may map at all."""

    __slots__ = ("_owners", "entitled", "partitions")

    def __init__(self) -> None:
        self.partitions: dict[int, Partition] = {}
        self.entitled: set[int] = set()
        self._owners: dict[int, Owner] = {}

    def missing(self, number: int) -> Fault:
        """Return why a partition is not mapped."""
        return Fault.GONE if number in self.entitled else Fault.PARTITION

    def follow(self, owner: Owner, numbers: Iterable[int]) -> None:
        """Map what `owner` hands over, now and whenever it comes back; `numbers` are the partitions expected."""
        self.entitled.update(numbers)
        self._owners[owner.tile] = owner
        owner.start(self.partitions)

    def forget(self, tile: int) -> None:
        """Map nothing of a tile any more: it has left the mesh."""
        owner = self._owners.pop(tile, None)
        if owner is not None:
            owner.stop()
            self.entitled.difference_update([number for number in self.entitled if descriptor.owner(number) == tile])

    async def ready(self, tile: int) -> None:
        """Return when the memory of a tile is mapped, at once if this tile reads none of it."""
        owner = self._owners.get(tile)
        if owner is not None:
            await owner.mapped.wait()

    async def all_ready(self, patience: float) -> list[int]:
        """Wait until everything is mapped; return the tiles whose memory has not come after `patience` seconds.

        PartitionError when an owner's answer made no sense, or when one refuses to the end.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(owner.first() for owner in self._owners.values())), patience)
        missing = [owner for owner in self._owners.values() if not owner.mapped.is_set()]
        for owner in missing:
            owner.check()
        return [owner.tile for owner in missing]

    def close(self) -> None:
        """Follow nobody any more."""
        for owner in self._owners.values():
            owner.stop()


class Owner:
    """The tile `tile`, which hands out its memory at `path` to this one, `reader`."""

    def __init__(self, path: str, tile: int, reader: int, credentials: Credentials | None) -> None:
        self.tile = tile
        self.mapped = asyncio.Event()
        self._path = path
        self._reader = reader
        self._credentials = credentials
        self._task: asyncio.Task[None] | None = None
        self._mapped: list[Partition] = []
        self._early: PartitionError | None = None  # it has refused, which it may not do any more later
        self._problem: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, partitions: dict[int, Partition]) -> None:
        """Begin to map into `partitions`."""
        self._task = asyncio.create_task(self._run(partitions), name=f"memory of tile {self.tile}")

    def stop(self) -> None:
        """Map no more."""
        if self._task is not None:
            self._task.cancel()

    async def first(self) -> None:
        """Return when the memory is mapped for the first time; PartitionError when that cannot be."""
        mapped = asyncio.create_task(self.mapped.wait())
        try:
            await asyncio.wait((mapped, self._problem), return_when=asyncio.FIRST_COMPLETED)
        finally:
            mapped.cancel()
        if self._problem.done():
            self._problem.result()

    def check(self) -> None:
        """PartitionError when the owner refuses."""
        if self._early is not None:
            raise self._early

    async def _run(self, partitions: dict[int, Partition]) -> None:
        try:
            while True:
                try:
                    connection, mapped = await fetch(self._path, self.tile, self._reader, self._credentials)
                except (PartitionError, OSError) as error:
                    await asyncio.sleep(self._fail(error))
                    continue
                self._unmap(partitions)
                await self._follow(partitions, connection, mapped)
                asyncio.get_running_loop().call_later(LINGER, self._expire, partitions, mapped)
        finally:
            self._unmap(partitions)

    async def _follow(
        self, partitions: dict[int, Partition], connection: socket.socket, mapped: list[Partition]
    ) -> None:
        """Keep memory mapped until its owner ends."""
        self._mapped = mapped
        partitions.update((partition.number, partition) for partition in mapped)
        self._early = None
        self.mapped.set()
        try:
            with contextlib.suppress(OSError):
                connection.send(MAPPED)
            await _ended(connection)
        finally:
            connection.close()
            self.mapped.clear()

    def _expire(self, partitions: dict[int, Partition], mapped: list[Partition]) -> None:
        """No message that names memory of the process that ended can be under way any more."""
        if self._mapped is mapped and not self.mapped.is_set():
            self._unmap(partitions)

    def _unmap(self, partitions: dict[int, Partition]) -> None:
        mapped, self._mapped = self._mapped, []
        for partition in mapped:
            del partitions[partition.number]
            partition.close()
        if mapped:
            log.info("the memory of tile %d is gone with its process", self.tile)

    def _fail(self, error: PartitionError | OSError) -> float:
        """Note a failure; return after how many seconds to ask again."""
        reason = error.__cause__.reason if isinstance(error.__cause__, RefusedError) else ""
        if isinstance(error, PartitionError) and reason == Refusal.RIGHTS.value:
            # A mesh that changes reaches its tiles one after the other: the owner may not have heard of this one yet.
            log.info("%s", error)
            self._early = error
            return RETRY_EARLY
        problem = PartitionError(f"{error}: see the log of tile {self.tile}") if isinstance(error, OSError) else error
        log.warning("%s", problem)
        if not self._problem.done() and not self.mapped.is_set():
            self._problem.set_exception(problem)
        return RETRY


async def _ended(connection: socket.socket) -> None:
    """Return when the other end is closed; whatever it says meanwhile means nothing."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(connection, 64):
            pass
    except OSError:
        pass
