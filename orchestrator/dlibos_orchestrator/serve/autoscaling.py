"""The policy at work: it looks at the load now and then, and asks for what it wants like any operator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from google.protobuf import json_format

from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.policy import autoscale

EVERY: Final = 1.0  # seconds between two looks: as often as tiles speak of their load


class Seen(Protocol):
    """What the policy looks at: the orchestrator."""

    spec: orchestrator_pb2.Spec
    mesh: mesh_pb2.Mesh

    @property
    def observed(self) -> Mapping[int, Observed]:
        """The tiles as they are."""


class Autoscaling:
    """`ask` gets requests as JSON, with those of operators: so two never change the spec at once."""

    def __init__(self, seen: Seen, ask: Callable[[bytes], None], notice: Callable[[str, int, str], None]) -> None:
        self._seen = seen
        self._ask = ask
        self._notice = notice
        self._state = autoscale.State()
        self._version = seen.spec.version

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(EVERY)

    def look(self, now: float) -> None:
        """Look once; `now` in seconds of Observed's clock."""
        seen = self._seen
        if seen.spec.version != self._version:
            # Whoever changed it, the load is another now; and nobody's change is taken back at once.
            self._version = seen.spec.version
            self._state = autoscale.State(changed=now)
        advice = autoscale.advise(seen.spec, seen.mesh, seen.observed, self._state, now)
        self._state = advice.state
        if advice.scale is not None:
            self._notice("autoscale", -1, "; ".join(advice.lines))
            request = orchestrator_pb2.Request(id=f"autoscale-{time.time_ns()}", scale=advice.scale)
            self._ask(json_format.MessageToJson(request, indent=None).encode())

    def thoughts(self, spec: orchestrator_pb2.Spec) -> list[str]:
        """Return what the policy of a spec thinks of each role at first sight."""
        seen = self._seen
        return autoscale.advise(spec, seen.mesh, seen.observed, autoscale.State(), time.monotonic()).lines
