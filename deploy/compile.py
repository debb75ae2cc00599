"""Compiles the core with mypyc, in place: .so files beside the .py files they replace. `make clean` removes them.

What runs per packet or per message is compiled; what runs per gRPC frame, per tile or per request head is not worth it.
"""

from __future__ import annotations

import os
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Extension, setup

NODE = Path(__file__).resolve().parent.parent / "node"
PACKAGE = NODE / "dlibos_node"
BUILD = NODE.parent / "build" / "mypyc"

ROOMS = ("wire", "tcp", "tcp/congestion", "stack")
MODULES = (
    "memory/descriptor.py",
    "memory/calibration.py",
    "memory/checked.py",
    "memory/fault.py",
    "memory/layout.py",
    "memory/partition.py",
    "memory/buffers.py",
    "noc/faults.py",
    "noc/message.py",
    "noc/tags.py",
    "noc/peer.py",
    "noc/queues.py",
    "nic/device.py",
    "nic/tap.py",
    "nic/virtio.py",
    "roles/app.py",
    "roles/app_events.py",
    "roles/arrivals.py",
    "roles/departures.py",
    "roles/direct.py",
    "roles/dispatch.py",
    "roles/driver.py",
    "roles/fused.py",
    "roles/moderation.py",
    "roles/orphans.py",
    "roles/reception.py",
    "roles/redirect.py",
    "roles/rx.py",
    "roles/stack.py",
    "roles/steering.py",
    "roles/tx.py",
    "sockets/buffers.py",
    "sockets/layer.py",
    "sockets/moves.py",
    "sockets/socket.py",
)


def sources() -> list[str]:
    """Return what is compiled, as paths below node/. Packages stay Python, and so do protocols: they hold no code."""
    whole = [path for room in ROOMS for path in sorted((PACKAGE / room).glob("*.py")) if path.name != "__init__.py"]
    paths = [*whole, *(PACKAGE / module for module in MODULES)]
    return [str(path.relative_to(NODE)) for path in paths if path.name != "ports.py"]


def extensions() -> list[Extension]:
    """Generate C for all modules as one group, so that calls between them are C calls."""
    options = ["--explicit-package-bases", "--namespace-packages", "--ignore-missing-imports", "--config-file="]
    built: list[Extension] = mypycify(
        [*options, *sources()], opt_level="3", group_name="dlibos_core", target_dir=str(BUILD / "c")
    )
    return built


if __name__ == "__main__":
    os.chdir(NODE)
    os.environ["MYPYPATH"] = f"{NODE}:{NODE.parent / 'proto' / 'gen'}"
    outputs = ["--build-lib", str(BUILD / "lib"), "--build-temp", str(BUILD / "o")]
    setup(
        name="dlibos-core",
        ext_modules=extensions(),
        script_args=[
            "-q",
            "build_ext",
            "--inplace",
            "--build-lib",
            str(BUILD / "lib"),
            "--build-temp",
            str(BUILD / "o"),
        ],
    )
