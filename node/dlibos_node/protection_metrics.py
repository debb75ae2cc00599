"""Protection as Prometheus metrics: the mode, what was refused, how much was checked and what that comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from prometheus_client.core import Metric

from dlibos_node.noc.faults import Faults

MODES: Final = ("protected", "unprotected", "fused")
Sample = tuple[tuple[str, ...], float]


class Family(Protocol):
    """Makes a family from samples, with the tile's own labels."""

    def __call__(self, name: str, text: str, labels: tuple[str, ...], samples: list[Sample], /) -> Metric:
        """Return the family."""


class ProtectionMetrics:
    """`mode` is one of MODES, `costs` the CPU seconds of one check by kind (memory/calibration.py)."""

    def __init__(self, faults: Faults, counter: Family, gauge: Family) -> None:
        self.mode = ""
        self.costs: Mapping[str, float] = {}
        self._faults = faults
        self._counter = counter
        self._gauge = gauge

    def families(self) -> Iterator[Metric]:
        """Yield all families."""
        modes: list[Sample] = [((mode,), mode == self.mode) for mode in MODES]
        yield self._gauge(
            "protection_mode", "1 for the mode the mesh was started in, 0 for the others.", ("mode",), modes
        )
        yield from self._refusals()
        kinds = self._faults.checked.kinds()
        made: list[Sample] = [((kind,), count) for kind, count in kinds.items()]
        yield self._counter("protection_checks", "Checks of what other tiles said, by kind.", ("kind",), made)
        spent: list[Sample] = [((kind,), count * self.costs.get(kind, 0.0)) for kind, count in kinds.items()]
        text = "CPU time of those checks: their number times what one took when the tile started."
        yield self._counter("protection_check_cpu_seconds", text, ("kind",), spent)

    def _refusals(self) -> Iterator[Metric]:
        refused: list[Sample] = [
            ((str(source), fault.value), count) for (fault, source), count in list(self._faults.counts.items())
        ]
        text = "Messages of other tiles that were refused, by the sender and the reason."
        yield self._counter("protection_faults", text, ("source", "reason"), refused)
        answered: list[Sample] = [((str(tile),), count) for tile, count in list(self._faults.answered.items())]
        text = "Messages of this tile that another one said it refused."
        yield self._counter("protection_faults_answered", text, ("destination",), answered)
