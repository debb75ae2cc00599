"""What would be done, one line each, found by planning against a world where everything goes well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.plan.actions import SETTLED, Action, Kill, Start, Wait, Write
from dlibos_orchestrator.plan.planner import next_action
from dlibos_orchestrator.plan.world import Process, World
from dlibos_orchestrator.policy.goal import job

TRIES: Final = 30  # looks for each tile of the grid, and waits in a row; no plan needs as many


def steps(spec: orchestrator_pb2.Spec, mesh: mesh_pb2.Mesh, observed: Mapping[int, Observed]) -> list[str]:
    """Return the steps from what is to what is wanted; UsageError where there is no way from here to there."""
    world, told = _world(mesh, observed), _Telling()
    seen: dict[int, Observed] = {}
    now, waited = 1.0, 0
    for _ in range(TRIES * mesh.width * mesh.height):
        world.settle()
        seen = world.observe(seen, now)
        action = next_action(spec, world.mesh, seen, {}, now)
        if isinstance(action, Wait):
            if action.why == SETTLED or waited > TRIES:
                break
            waited, now = waited + 1, now + 1.0
            continue
        waited = 0
        told.tell(world.mesh, action)
        world.act(action)
    if not (isinstance(action, Wait) and action.why == SETTLED):
        raise UsageError(f"there is no way from the mesh as it is to that ({action.why}); change it in smaller steps")
    return told.lines


class _Telling:
    """Lines for actions. Ending and starting what a line has announced goes without saying."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._announced: set[int] = set()

    def tell(self, mesh: mesh_pb2.Mesh, action: Action) -> None:
        if isinstance(action, Write):
            self._changes(mesh, action.mesh)
        elif isinstance(action, Kill) and action.tile not in self._announced:
            self.lines.append(f"end tile {action.tile}: {action.why}")
        elif isinstance(action, Start) and action.tile not in self._announced:
            self.lines.append(f"start tile {action.tile}")
        if isinstance(action, Start):
            self._announced.discard(action.tile)

    def _changes(self, mesh: mesh_pb2.Mesh, after: mesh_pb2.Mesh) -> None:
        before = {entry.tile: entry for entry in mesh.tiles}
        for entry in after.tiles:
            if line := _change(after, before.get(entry.tile), entry):
                self.lines.append(line)
                if not entry.draining:
                    self._announced.add(entry.tile)
        moves = Counter(zip(mesh.owners, after.owners, strict=False))
        for (source, target), count in sorted(moves.items()):
            if source != target:
                self.lines.append(f"move {count} bucket{'s' * (count > 1)} from tile {source} to tile {target}")


def _change(mesh: mesh_pb2.Mesh, before: mesh_pb2.Tile | None, after: mesh_pb2.Tile) -> str:
    if before is None or job(before) != job(after):
        if after.role == mesh_pb2.ROLE_IDLE and before is not None:
            return f"let tile {after.tile} be idle"
        return f"start tile {after.tile} as {_name(mesh, after)}"
    if after.draining != before.draining:
        return f"drain tile {after.tile}" if after.draining else f"start tile {after.tile} anew"
    return ""


def _name(mesh: mesh_pb2.Mesh, entry: mesh_pb2.Tile) -> str:
    name = mesh_pb2.Role.Name(entry.role).removeprefix("ROLE_").lower()
    return f"{name} of {mesh.domains[entry.domain - 1].name}" if entry.domain and len(mesh.domains) > 1 else name


def _world(mesh: mesh_pb2.Mesh, observed: Mapping[int, Observed]) -> World:
    """Return the world that is seen, where all that runs is well and knows the mesh."""
    world = World(mesh)
    entries = {entry.tile: entry for entry in mesh.tiles}
    world.born = max((seen.incarnation for seen in observed.values()), default=0)
    for tile, seen in observed.items():
        if not seen.alive or tile not in entries:
            continue
        world.born += not seen.incarnation
        process = Process(seen.incarnation or world.born, mesh, entries[tile])
        process.ready, process.drained, process.said = True, seen.drained, seen.sequence
        if seen.spoken:
            process.held = int.from_bytes(seen.held, "little")
        world.processes[tile] = process
    return world
