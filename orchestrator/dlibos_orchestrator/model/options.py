"""What a user asks of a mesh, in the user's terms, checked as far as that needs no machine to look at."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dlibos_orchestrator.errors import UsageError

APP_KINDS: Final = {"web": 80}
"""Kinds of application, with the port each listens on unless told otherwise."""
PROTECTIONS: Final = ("protected", "unprotected", "fused")
NIC_CHOICES: Final = ("auto", "tap", "user")
BROKERS: Final = ("embedded", "mosquitto")
MAX_SIDE: Final = 16  # a quarter of what 4-digit tile ids in socket paths would allow, and four times a TILE-Gx36 row
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Published:
    """`host`:`host_port` outside leads to `mesh_port` of the mesh's address, as docker -p does."""

    host: str
    host_port: int
    mesh_port: int


@dataclass(frozen=True)
class Faults:
    """Seeded faults at the NIC, both ways; probabilities 0..1."""

    seed: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0


@dataclass(frozen=True)
class Domain:
    """A protection domain: `app` tiles that run one application on one port; no other domain sees its memory."""

    name: str
    kind: str = "web"
    port: int = 80
    app: int = 1
    root: Path | None = None


@dataclass(frozen=True)
class AutoscaleLimits:
    """When a role gets a tile and when it gives one back: mean busy of its tiles, 0..1; seconds."""

    high: float = 0.8
    low: float = 0.2
    hold: float = 5.0
    rest: float = 15.0

    def check(self) -> None:
        """Raise UsageError for limits that make no sense."""
        if not 0 < self.low < self.high <= 1:
            raise UsageError(
                f"autoscale: low={self.low:g} high={self.high:g}: use 0 < low < high <= 1, as low=0.2 high=0.8"
            )
        # A tile given back must not push the others above `high`: that would go to and fro.
        if self.low > self.high / 2:
            raise UsageError(
                f"autoscale: low={self.low:g} is more than half of high={self.high:g}: a tile of two that is given "
                f"back would be wanted again at once; use low={self.high / 2:g} or less"
            )
        if self.hold <= 0 or self.rest < 0:
            raise UsageError("autoscale: hold must be more than 0 s and rest not negative, as hold=5s,rest=15s")


@dataclass(frozen=True)
class MeshOptions:
    """One mesh as asked for. `check` says whether it can be."""

    name: str = "default"
    width: int = 6
    height: int = 6
    driver: int = 1
    stack: int = 1
    app: int = 1
    idle: int = 0
    app_kind: str = "web"
    root: Path | None = None
    publish: tuple[Published, ...] = ()
    nic: str = "auto"
    broker: str = "embedded"
    pcap: Path | None = None
    fault: Faults | None = None
    protection: str = "protected"
    domain: tuple[Domain, ...] = ()
    tune: Mapping[str, int] = field(default_factory=dict)  # by field of mesh_pb2.Tunables
    autoscale: AutoscaleLimits | None = None
    compromised: frozenset[int] = frozenset()
    """Tiles in the attacker's hands, for `dlibos attack`; drivers and stacks among them take no part in the traffic."""

    @property
    def domains(self) -> tuple[Domain, ...]:
        """All protection domains: those asked for, else one that runs `app_kind` on `app` tiles."""
        port = APP_KINDS.get(self.app_kind, 80)
        return self.domain or (Domain("default", self.app_kind, port, self.app, self.root),)

    @property
    def tiles(self) -> int:
        """Count of tiles asked for, of every role."""
        if self.protection == "fused":
            return self.driver + self.idle
        return self.driver + self.stack + sum(domain.app for domain in self.domains) + self.idle

    def check(self) -> None:
        """Raise UsageError, one line with the fix, for a mesh that cannot be."""
        check_name(self.name)
        self._check_counts()
        self._check_domains()
        if self.autoscale is not None:
            self.autoscale.check()
        roots = [("--root" if not self.domain else f"--domain {d.name}: root", d.root) for d in self.domains]
        for flag, folder in (*roots, ("--pcap", self.pcap)):
            if folder is not None and not folder.is_dir():
                raise UsageError(f"{flag} {folder} is not a directory; make it, name another, or leave {flag} out")
        if self.root is not None and not os.access(self.root, os.X_OK):
            raise UsageError(f"--root {self.root} may not be entered by you; chmod u+x it, or name another")

    def _check_domains(self) -> None:
        if self.protection == "fused" and len(self.domains) > 1:
            raise UsageError("--protection fused: one address space keeps no two domains apart; name one --domain")
        ports: dict[int, str] = {}
        for domain in self.domains:
            if domain.kind not in APP_KINDS:
                raise UsageError(f"unknown kind of application {domain.kind!r}; known: {', '.join(APP_KINDS)}")
            if domain.app < 1 and self.domain:
                raise UsageError(f"domain {domain.name} has no app tile; give it app=1 or leave it out")
            if domain.port in ports:
                raise UsageError(f"domains {ports[domain.port]} and {domain.name} both use port {domain.port}")
            ports[domain.port] = domain.name
        if len({domain.name for domain in self.domains}) < len(self.domains):
            raise UsageError("two domains have the same name; give each --domain its own name=")

    def _check_counts(self) -> None:
        for role in ("driver", "stack", "app"):
            if getattr(self, role) < 1:
                raise UsageError(
                    f"--{role} {getattr(self, role)}: a mesh needs at least one {role} tile; use --{role} 1"
                )
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise UsageError(f"--mesh {self.width}x{self.height}: each side must be 1 to {MAX_SIDE}")
        if self.tiles > self.width * self.height:
            side = next(n for n in range(1, self.tiles + 1) if n * n >= self.tiles)
            raise UsageError(
                f"{self.tiles} tiles do not fit on a {self.width}x{self.height} mesh; "
                f"ask for fewer, or for --mesh {side}x{side}"
            )


def check_name(name: str) -> None:
    """Raise UsageError for a mesh name that could not be a directory and a process argument everywhere."""
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: use 1 to 32 of a-z 0-9 _ -, beginning with a letter or digit")
