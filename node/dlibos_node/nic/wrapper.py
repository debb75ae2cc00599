"""What devices that stand around another have in common: they are what that one is, until they say otherwise."""

from __future__ import annotations

from typing import Final

from dlibos_node.nic.device import Device, DeviceStatistics


class Wrapper:
    """Passes on what a wrapper does not change (see Device)."""

    __slots__ = ("_device", "mtu", "offloads", "statistics")

    def __init__(self, device: Device) -> None:
        self._device: Final = device
        self.mtu = device.mtu
        self.offloads = device.offloads
        self.statistics: DeviceStatistics = device.statistics

    def attach(self) -> None:
        """Attach the device."""
        self._device.attach()

    def quiesce(self) -> None:
        """Quiesce the device."""
        self._device.quiesce()

    @property
    def idle(self) -> bool:
        """Whether the device is."""
        return self._device.idle

    def detach(self) -> None:
        """Detach the device."""
        self._device.detach()
