"""A world of tiles without any machine: what processes do with a mesh, in moves small enough to die between any two.

`steps` lets everything go well here; the property tests let everything go wrong. Only what the planner looks at is
modelled: processes, the links between stack tiles, and the bucket tokens that travel on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.model import observed as model
from dlibos_orchestrator.model.entries import bucket_count, owned
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.plan.actions import Action, Kill, Start, Write
from dlibos_orchestrator.policy.goal import Job, job

PIDS: Final = 1 << 31


class Move(NamedTuple):
    """Something that a process, or what it has sent, does next."""

    what: str
    tile: int
    other: int = -1


class Flight(NamedTuple):
    """Bucket tokens between two processes."""

    source: int
    source_incarnation: int
    target: int
    target_incarnation: int
    buckets: int


class Process:
    """A process of a tile. `held` and other sets of buckets: bit b stands for bucket b."""

    def __init__(self, incarnation: int, mesh: mesh_pb2.Mesh, entry: mesh_pb2.Tile) -> None:
        self.incarnation = incarnation
        self.mesh = mesh
        self.job: Job = job(entry)
        self.holds = entry.role == mesh_pb2.ROLE_STACK and not entry.passive
        self.draining = entry.draining
        self.ready = self.drained = self.hung = False
        self.held = owned(mesh.owners).get(entry.tile, 0) if self.holds else 0
        self.links: dict[int, int] = {}  # tile -> incarnation
        self.said = 0

    def owner(self, tile: int) -> int:
        """Return what its table gives a tile."""
        return owned(self.mesh.owners).get(tile, 0)


class World:
    """Every process, and the mesh that is written down."""

    def __init__(self, mesh: mesh_pb2.Mesh) -> None:
        self.mesh = mesh
        self.processes: dict[int, Process] = {}
        self.flights: list[Flight] = []
        self.born = 0  # the largest incarnation

    def act(self, action: Action) -> None:
        """Do what the planner says."""
        if isinstance(action, Write):
            self.mesh = action.mesh
        elif isinstance(action, Start):
            self.start(action.tile)
        elif isinstance(action, Kill):
            self.end(action.tile)

    def start(self, tile: int) -> None:
        """Start a process, unless the tile has one, as the runtime does."""
        entry = next((entry for entry in self.mesh.tiles if entry.tile == tile), None)
        if tile not in self.processes and entry is not None:
            self.born += 1
            self.processes[tile] = Process(self.born, self.mesh, entry)

    def end(self, tile: int) -> None:
        """End a process; what it holds and what is on its way to it is gone, what it has sent is not."""
        self.processes.pop(tile, None)
        self.flights = [flight for flight in self.flights if flight.target != tile]

    def moves(self) -> list[Move]:
        """Return what may happen next, in any order."""
        found = [
            move for tile, process in self.processes.items() if not process.hung for move in self._of(tile, process)
        ]
        found += [Move("arrive", flight.target, flight.source) for flight in self.flights if self.lands(flight)]
        return found

    def settle(self) -> None:
        """Let everything happen that can, until nothing can."""
        for _ in range(100 * (len(self.processes) + 1) ** 2):
            if not (moves := self.moves()):
                return
            for move in moves:
                self.do(move)

    def do(self, move: Move) -> None:
        """Let a move happen, if it still can."""
        if move in self.moves():
            getattr(self, f"_{move.what}")(move.tile, move.other)

    def status(self, tile: int) -> mesh_pb2.TileStatus:
        """Return what a tile says of itself now."""
        process = self.processes[tile]
        process.said += 1
        return mesh_pb2.TileStatus(
            tile=tile,
            role=process.job.role,
            pid=_process_id(process.incarnation),
            ready=process.ready,
            incarnation=process.incarnation,
            sequence=process.said,
            epoch=process.mesh.epoch,
            drained=process.drained,
            held=model.bitmap(_bits(process.held), bucket_count(self.mesh)),
            linked=sorted(process.links),
        )

    def pid(self, tile: int) -> int:
        """Return which process a tile has, 0 for none: here that is its incarnation."""
        return self.processes[tile].incarnation if tile in self.processes else 0

    def observe(self, before: Mapping[int, Observed], now: float) -> dict[int, Observed]:
        """Return what is known when every word arrives at once."""
        tiles = {entry.tile for entry in self.mesh.tiles} | set(before) | set(self.processes)
        seen = {tile: model.process(before.get(tile), tile, _process_id(self.pid(tile)), now) for tile in tiles}
        for tile, process in self.processes.items():
            if not process.hung and (told := model.status(seen[tile], self.status(tile), now)) is not None:
                seen[tile] = told
        return seen

    def lands(self, flight: Flight) -> bool:
        """Whether what is on its way gets to the process it was sent to: not once that has noticed the sender's end."""
        target = self.processes.get(flight.target)
        linked = target is not None and target.links.get(flight.source) == flight.source_incarnation
        return linked and self.pid(flight.target) == flight.target_incarnation

    # --- what can happen -----------------------------------------------------------------------------------------

    def _of(self, tile: int, process: Process) -> list[Move]:
        found = [Move("unlink", tile, other) for other, born in process.links.items() if self.pid(other) != born]
        if process.mesh.epoch < self.mesh.epoch and self._is_for(tile, process):
            found.append(Move("apply", tile))
        if process.draining and not process.drained and not process.held and not self._nears(tile):
            found.append(Move("drain", tile))
        fellows = self._fellows(tile, process)
        found += [Move("link", tile, other) for other in fellows if self._can_link(tile, other)]
        if not process.ready and all(other in process.links for other in fellows):
            found.append(Move("ready", tile))
        found += [Move("give", tile, other) for other in process.links if process.held & process.owner(other)]
        return found

    def _fellows(self, tile: int, process: Process) -> list[int]:
        """Return the stack tiles that a stack tile knows of."""
        if not process.holds:
            return []
        return [
            entry.tile
            for entry in process.mesh.tiles
            if entry.role == mesh_pb2.ROLE_STACK and not entry.passive and entry.tile != tile
        ]

    def _can_link(self, tile: int, other: int) -> bool:
        one, two = self.processes[tile], self.processes.get(other)
        if two is None or two.hung or not two.holds or tile not in self._fellows(other, two):
            return False
        return other not in one.links and tile not in two.links

    def _is_for(self, tile: int, process: Process) -> bool:
        return any(entry.tile == tile and job(entry) == process.job for entry in self.mesh.tiles)

    def _nears(self, tile: int) -> bool:
        return any(flight.target == tile and self.lands(flight) for flight in self.flights)

    def _apply(self, tile: int, _: int) -> None:
        process = self.processes[tile]
        process.mesh = self.mesh
        process.draining |= any(entry.tile == tile and entry.draining for entry in self.mesh.tiles)

    def _link(self, tile: int, other: int) -> None:
        self.processes[tile].links[other] = self.pid(other)
        self.processes[other].links[tile] = self.pid(tile)

    def _unlink(self, tile: int, other: int) -> None:
        """What the dead one had sent and has not been read is lost."""
        born = self.processes[tile].links.pop(other)
        self.flights = [f for f in self.flights if (f.source, f.source_incarnation, f.target) != (other, born, tile)]

    def _ready(self, tile: int, _: int) -> None:
        self.processes[tile].ready = True

    def _drain(self, tile: int, _: int) -> None:
        self.processes[tile].drained = True

    def _give(self, tile: int, other: int) -> None:
        process = self.processes[tile]
        share = process.held & process.owner(other)
        process.held &= ~share
        self.flights.append(Flight(tile, process.incarnation, other, process.links[other], share))

    def _arrive(self, tile: int, source: int) -> None:
        flight = next(f for f in self.flights if (f.target, f.source) == (tile, source) and self.lands(f))
        self.flights.remove(flight)
        self.processes[tile].held |= flight.buckets


def _bits(share: int) -> list[int]:
    return [bucket for bucket in range(share.bit_length()) if share >> bucket & 1]


def _process_id(incarnation: int) -> int:
    """Return what stands for a process id: shorter than an incarnation, and 0 for none."""
    return incarnation % PIDS or min(incarnation, 1)
