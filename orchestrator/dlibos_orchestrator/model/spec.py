"""What the user wants of a mesh (message Spec): made at `up`, changed by requests, each checked before it counts.

`apply_request` looks at what can be seen from counts, pins and the size of the mesh. Whether there is a way from the
mesh as it is to the spec is what `plan.steps` finds out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2

from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.model.options import AutoscaleLimits, MeshOptions
from dlibos_orchestrator.model.pins import assign, drain, place_of, restart
from dlibos_orchestrator.policy.goal import Job, pins, untouchable, wanted

Spec = orchestrator_pb2.Spec
NOBODY: Final[Mapping[int, Observed]] = {}


def spec_of(options: MeshOptions) -> Spec:
    """Return what `up` asks for. In a fused mesh the drivers are the tiles that do everything."""
    spec = Spec(version=1, driver=options.driver, idle=options.idle, compromised=sorted(options.compromised))
    if options.protection != "fused":
        spec.stack = options.stack
        spec.app.extend(domain.app for domain in options.domains)
    if options.autoscale is not None:
        spec.autoscale.CopyFrom(orchestrator_pb2.Autoscale(**vars(options.autoscale)))
    return spec


def apply_request(
    spec: Spec,
    mesh: mesh_pb2.Mesh,
    request: orchestrator_pb2.Request,
    observed: Mapping[int, Observed] = NOBODY,
) -> Spec:
    """Return the spec that a request makes of this one: itself where nothing changes, else the next version.

    `observed` is what a restart needs to know. UsageError, with the next step, for what cannot be.
    """
    what = request.WhichOneof("what")
    if what is None:
        raise UsageError("the request asks for nothing; see `dlibos --help`")
    if what == "list_events":
        return spec
    if mesh.protection == mesh_pb2.PROTECTION_FUSED:
        raise UsageError("a fused mesh keeps its shape: each tile does everything; `dlibos down` it and `up` another")
    changed = Spec()
    changed.CopyFrom(spec)
    _change(changed, mesh, request, what, observed)
    if changed == spec:
        return spec
    check(changed, mesh)
    changed.version = spec.version + 1
    return changed


def _change(
    spec: Spec, mesh: mesh_pb2.Mesh, request: orchestrator_pb2.Request, what: str, observed: Mapping[int, Observed]
) -> None:
    if what == "scale":
        _scale(spec, mesh, request.scale)
    elif what == "assign":
        assign(spec, mesh, request.assign)
    elif what == "drain":
        drain(spec, mesh, request.drain)
    elif what == "restart":
        restart(spec, mesh, request.restart, observed)
    elif what == "autoscale":
        spec.autoscale.CopyFrom(request.autoscale)
        limits = spec.autoscale
        AutoscaleLimits(limits.high, limits.low, limits.hold, limits.rest).check()
    elif request.autoscale_off:
        spec.ClearField("autoscale")


def _scale(spec: Spec, mesh: mesh_pb2.Mesh, scale: orchestrator_pb2.Scale) -> None:
    for field in ("driver", "stack", "idle"):
        if scale.HasField(field):
            setattr(spec, field, getattr(scale, field))
    for name, count in scale.app.items():
        spec.app[domain_number(mesh, name) - 1] = count


def domain_number(mesh: mesh_pb2.Mesh, name: str) -> int:
    """Return the number of a domain by its name; "" is the only one. UsageError."""
    names = [domain.name for domain in mesh.domains]
    if not name and len(names) == 1:
        return 1
    if name in names:
        return names.index(name) + 1
    if not name:
        raise UsageError(f"the mesh has {len(names)} domains: say which, as in app.{names[0]}=2")
    raise UsageError(f"no domain {name!r}; the mesh has {', '.join(names)}")


def check(spec: Spec, mesh: mesh_pb2.Mesh) -> None:
    """Raise UsageError for counts and pins that no mesh of this size can have."""
    for what, count in wanted(spec).items():
        _check_count(spec, mesh, what, count)
    _check_room(spec, mesh)


def _check_count(spec: Spec, mesh: mesh_pb2.Mesh, what: Job, count: int) -> None:
    name = place_of(mesh, what)
    fixed = untouchable(spec, mesh)
    lost = sum(entry.tile in fixed and Job(entry.role, entry.domain) == what for entry in mesh.tiles)
    if count < 1 + lost:
        besides = f" besides the {lost} in the attacker's hands" if lost else ""
        raise UsageError(f"{count} {name} tiles: a mesh needs at least one{besides}; ask for {1 + lost}")
    pinned = sorted(tile for tile, has in pins(spec).items() if has == what)
    if len(pinned) > count:
        tiles = ", ".join(map(str, pinned))
        raise UsageError(
            f"{count} {name} tiles contradict what was assigned: {tiles} are to be {name}; "
            f"`dlibos assign {pinned[-1]} idle` first"
        )


def _check_room(spec: Spec, mesh: mesh_pb2.Mesh) -> None:
    cells = mesh.width * mesh.height
    busy = sum(wanted(spec).values())
    idle = sorted(tile for tile, has in pins(spec).items() if has.role == mesh_pb2.ROLE_IDLE)
    if busy + spec.idle > cells:
        raise UsageError(
            f"{busy + spec.idle} tiles do not fit on the {mesh.width}x{mesh.height} mesh; ask for at most {cells}"
        )
    if busy + len(idle) > cells:
        raise UsageError(
            f"{busy} tiles with work and {len(idle)} that were drained or assigned idle do not fit on the "
            f"{mesh.width}x{mesh.height} mesh; `dlibos assign {idle[-1]} ROLE` first"
        )
