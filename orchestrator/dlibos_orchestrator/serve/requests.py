"""What operators ask: judged by the model, written down, answered."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from dlibos.control.v1 import mesh_pb2, orchestrator_pb2
from google.protobuf import json_format

from dlibos_orchestrator.errors import OrchestratorError, UsageError
from dlibos_orchestrator.model.observed import Observed
from dlibos_orchestrator.model.spec import apply_request
from dlibos_orchestrator.plan import steps

log: Final = logging.getLogger(__name__)

WAITING: Final = 64  # requests at once
REMEMBERED: Final = 64  # replies, for a request that comes twice
ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")  # it becomes a level of a topic


class Desk(Protocol):
    """What requests are about: the orchestrator."""

    spec: orchestrator_pb2.Spec
    mesh: mesh_pb2.Mesh

    @property
    def observed(self) -> Mapping[int, Observed]:
        """The tiles as they are."""

    def thoughts(self, spec: orchestrator_pb2.Spec) -> list[str]:
        """Return what the policy of a spec thinks of each role."""

    def want(self, spec: orchestrator_pb2.Spec, why: str) -> None:
        """Make this the spec: write it down, then act on it."""

    def events(self) -> list[orchestrator_pb2.Event]:
        """Return the last events."""


class Requests:
    """Answers one request after the other; `reply` gets every answer."""

    def __init__(self, desk: Desk, reply: Callable[[orchestrator_pb2.Reply], None]) -> None:
        self._desk = desk
        self._reply = reply
        self._queue: asyncio.Queue[orchestrator_pb2.Request] = asyncio.Queue(WAITING)
        self._replies: OrderedDict[str, orchestrator_pb2.Reply] = OrderedDict()

    def received(self, payload: bytes) -> None:
        """Take a request as JSON; what is none, or too much, gets no answer."""
        try:
            request = json_format.Parse(payload, orchestrator_pb2.Request())
        except (json_format.ParseError, UnicodeDecodeError):
            return
        if ID.fullmatch(request.id) and not self._queue.full():
            self._queue.put_nowait(request)

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            request = await self._queue.get()
            reply = self._replies.get(request.id) or await self._answer(request)
            self._replies[request.id] = reply
            while len(self._replies) > REMEMBERED:
                self._replies.popitem(last=False)
            self._reply(reply)

    async def _answer(self, request: orchestrator_pb2.Request) -> orchestrator_pb2.Reply:
        desk, reply = self._desk, orchestrator_pb2.Reply(id=request.id)
        try:
            if request.WhichOneof("what") == "list_events":
                reply.events.extend(desk.events())
                wanted = desk.spec
            else:
                wanted = await self._change(request, reply)
            reply.spec.CopyFrom(wanted)
        except (OrchestratorError, OSError) as error:
            reply.error = str(error)
        except Exception:
            # Who heals the mesh must not end for a question that should have had an answer.
            log.exception("a request was not understood: %s", request)
            reply.error = "the orchestrator failed on this request; see its log (`dlibos logs`)"
        return reply

    async def _change(self, request: orchestrator_pb2.Request, reply: orchestrator_pb2.Reply) -> orchestrator_pb2.Spec:
        """The spec may not change while the steps are found: requests come one at a time, and only they change it."""
        desk = self._desk
        wanted = apply_request(desk.spec, desk.mesh, request, desk.observed)
        # Copies: the mesh goes on changing while a thread looks at them.
        mesh = mesh_pb2.Mesh()
        mesh.CopyFrom(desk.mesh)
        reply.steps.extend(await asyncio.to_thread(steps, wanted, mesh, dict(desk.observed)))
        if request.HasField("autoscale"):
            reply.steps.extend(desk.thoughts(wanted))
        if not request.dry_run and wanted != desk.spec:
            desk.want(wanted, _said(request))
        return wanted


def _said(request: orchestrator_pb2.Request) -> str:
    what = request.WhichOneof("what")
    if what is None:
        raise UsageError("the request asks for nothing; see `dlibos --help`")
    return f"{what} {getattr(request, what)}".replace("\n", " ").strip()
