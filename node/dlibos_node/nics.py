"""Which network device a driver tile gets: a TAP queue or the user-mode NIC, with the wrappers that were asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_node import config
from dlibos_node.errors import DeviceError
from dlibos_node.identity import Credentials
from dlibos_node.nic.device import Device
from dlibos_node.nic.fault import Fault, Rates
from dlibos_node.nic.pcap import Pcap
from dlibos_node.nic.queue import fetch_queue
from dlibos_node.nic.tap import Tap
from dlibos_node.nic.user.answer import Link
from dlibos_node.nic.user.nic import open_user_nic

KEEPER_PATIENCE: Final = 5.0  # seconds until it listens
KEEPER_RETRY: Final = 0.01  # seconds
OWNERS: Final = (mesh_pb2.ROLE_DRIVER, mesh_pb2.ROLE_FUSED)


async def open_device(nic: mesh_pb2.Nic, index: int, tile: int, credentials: Credentials | None) -> Device:
    """Open the device of driver tile `tile`, the `index`-th driver; DeviceError says why not."""
    if nic.kind == mesh_pb2.NIC_KIND_USER:
        device = await _open_user(nic, index)
    else:
        device = await _open_tap(nic, tile, credentials)
    if nic.HasField("fault"):
        fault = nic.fault
        rates = Rates(loss=fault.loss, duplicate=fault.duplicate, corrupt=fault.corrupt, reorder=fault.reorder)
        device = Fault(device, fault.seed + index, rates)
    if nic.pcap:
        device = Pcap(device, str(Path(nic.pcap) / f"driver-{index}.pcap"))
    return device


async def _open_tap(nic: mesh_pb2.Nic, tile: int, credentials: Credentials | None) -> Device:
    """Open a queue; the keeper may still be starting, as tiles are started beside it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + KEEPER_PATIENCE
    while True:
        try:
            fd, info = fetch_queue(nic.keeper, tile, credentials)
        except DeviceError as error:
            if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError) or loop.time() > deadline:
                raise
            await asyncio.sleep(KEEPER_RETRY)
            continue
        return Tap(fd, info.mtu)


async def _open_user(nic: mesh_pb2.Nic, index: int) -> Device:
    mesh = config.interface_address(nic.address, "nic.address")
    peer = config.interface_address(nic.peer_address, "nic.peer_address")
    link = Link(
        address=int(peer.ip),
        mac=config.mac_address(nic.peer_mac, "nic.peer_mac"),
        mesh_address=int(mesh.ip),
        mesh_mac=config.mac_address(nic.mac, "nic.mac"),
        mtu=nic.mtu,
    )
    publish = [(entry.host, entry.host_port, entry.mesh_port) for entry in nic.publish]
    return await open_user_nic(publish, link, index)
