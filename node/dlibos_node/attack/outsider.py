"""`python -m dlibos_node.attack.outsider --dir DIR`: a process of the same user that is no tile of the mesh at DIR.

It has no key, no link, no mapping and no capability; it can read the mesh's directory and reach its sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2
from google.protobuf import json_format

from dlibos_node import config
from dlibos_node.attack import control
from dlibos_node.attack.answer import Answer, Order, Step
from dlibos_node.attack.ask import ask, loot, spoof
from dlibos_node.attack.dial import Caller, repeat
from dlibos_node.attack.process import Prey, read_mem
from dlibos_node.hardening.capabilities import drop_capabilities
from dlibos_node.identity import KEEPER, Context
from dlibos_node.memory.descriptor import APP_INDEX, partition_number

CROWD: Final = 100  # connections that never say who they are

Attack = Callable[["Outsider", Order], Answer | Awaitable[Answer]]


class Outsider:
    """Sees the mesh from its file alone. `mesh` has been read as any tile reads it."""

    def __init__(self, directory: Path) -> None:
        file = directory / "mesh.json"
        members = json_format.Parse(file.read_text(), mesh_pb2.Mesh()).tiles
        self.mesh, _ = config.load(file, members[0].tile)  # as that tile reads it

    def tile(self, role: str) -> mesh_pb2.Tile:
        """Return the first tile of a role: an honest one."""
        return next(entry for entry in self.mesh.tiles if config.ROLES[entry.role] == role)

    def perform(self, name: str, order: Order) -> Answer | Awaitable[Answer]:
        """Perform an attack."""
        return ATTACKS[name](self, order)


def wrong_mesh(outsider: Outsider, order: Order) -> Awaitable[Answer]:
    """Dial as a tile of another mesh."""
    del order
    return Caller(outsider.mesh, outsider.tile("app").tile, None).join(outsider.tile("stack"), "another-mesh")


def stolen_id(outsider: Outsider, order: Order) -> Awaitable[Answer]:
    """Dial as an application tile."""
    del order
    return Caller(outsider.mesh, outsider.tile("app").tile, None).join(outsider.tile("stack"))


def replay(outsider: Outsider, order: Order) -> Awaitable[Answer]:
    """Say what a tile said when it joined."""
    return repeat(outsider.tile("stack").address, order)


def memory(outsider: Outsider, order: Order) -> Answer:
    """Ask an application tile for its memory, as a stack tile."""
    victim, claim = outsider.tile("app"), outsider.tile("stack").tile
    return loot(ask(victim.memory, victim.tile, claim, Context.MEMORY, None), 0, order)


def queue(outsider: Outsider, order: Order) -> Answer:
    """Ask the keeper for a queue, as a driver tile."""
    del order
    return spoof(ask(outsider.mesh.nic.keeper, KEEPER, outsider.tile("driver").tile, Context.KEEPER, None))


def mem(outsider: Outsider, order: Order) -> Answer:
    """Read the memory of an application tile by /proc."""
    victim = outsider.tile("app").tile
    return read_mem(Prey(order.pids[victim], partition_number(victim, APP_INDEX)), order)


def crowd(outsider: Outsider, order: Order) -> Answer:
    """Take all the places of those who have not said yet who they are."""
    del order
    path, reasons = outsider.tile("driver").memory, set[str]()
    sockets = [socket.socket(socket.AF_UNIX) for _ in range(CROWD)]
    try:
        for sock in sockets:
            sock.settimeout(1.0)
            sock.connect(path)
        if b"too_many_unproved" in sockets[0].recv(1024):
            reasons.add("too_many_unproved")
    except TimeoutError:
        reasons.add("waited")
    finally:
        for sock in sockets:
            sock.close()
    return Answer(tuple(Step("connect", reason) for reason in reasons), "waited" in reasons)


ATTACKS: Final[dict[str, Attack]] = {
    "outsider-wrong-mesh": wrong_mesh,
    "outsider-stolen-id": stolen_id,
    "outsider-replay": replay,
    "outsider-memory": memory,
    "outsider-queue": queue,
    "outsider-mem": mem,
    "outsider-crowd": crowd,
}


async def serve(directory: Path) -> None:
    """Take orders until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await control.listen(directory / "attack" / "outsider.sock", Outsider(directory).perform)
    await stop.wait()
    server.close()


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="outsider")
    parser.add_argument("--dir", type=Path, required=True)
    drop_capabilities()
    asyncio.run(serve(parser.parse_args(arguments).dir))
    return 0


if __name__ == "__main__":
    sys.exit(main())
