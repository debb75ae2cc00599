"""What can go wrong in a tile, by situation. Drops and refusals are counters with a reason, not exceptions."""

from __future__ import annotations


class DlibosError(Exception):
    """Base of all errors this package raises on purpose; the message says what failed, where, and the next step."""


class ConfigurationError(DlibosError):
    """What the tile was asked to be cannot be: a wrong value, an unknown key, a missing file."""


class DeviceError(DlibosError):
    """The network device cannot be had or used."""


class PartitionError(DlibosError):
    """A partition cannot be made, handed over or mapped."""


class IdentityError(DlibosError):
    """Another process does not believe who this tile is, or cannot prove who it is itself."""


class RefusedError(IdentityError):
    """The other process gave a reason; `reason` is its word, proved by nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"this process is refused ({reason}): tiles prove who they are by keys `dlibos up` gives them")
        self.reason = reason


class MeasurementError(DlibosError):
    """A measurement inside the process did not do what it was to measure."""


class HardeningError(DlibosError):
    """A protection that this kernel offers could not be put in place."""
