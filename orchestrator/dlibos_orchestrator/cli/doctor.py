"""`dlibos doctor`: what of this machine the mesh needs, whether it is there, and the command that mends it."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.errors import OrchestratorError
from dlibos_orchestrator.output import paint, print_json
from dlibos_orchestrator.runtime import namespace, processes
from dlibos_orchestrator.runtime.directory import base_directory, make_base, mesh_directory

NAME: Final = "doctor"
OK: Final = "ok"
WARN: Final = "warn"  # something works less well, or another way
FAIL: Final = "fail"  # no mesh can run
# Distribution and the module it brings. An idle tile imports all of them.
DISTRIBUTIONS: Final = (
    ("grpcio", "grpc"),
    ("protobuf", "google.protobuf"),
    ("prometheus-client", "prometheus_client"),
    ("httptools", "httptools"),
    ("aiomqtt", "aiomqtt"),
    ("amqtt", "amqtt.broker"),
)
PROGRAMS: Final = (("curl", "curl"), ("wrk", "wrk"), ("nginx", "nginx-light"), ("mosquitto", "mosquitto"))
"""And the Debian package."""
SYSTEM_PATH: Final = "/usr/sbin"  # where Debian puts Mosquitto; only root looks there
FIX_DIRECTORY: Final = 'export DLIBOS_RUNTIME_DIR="$(mktemp -d)"'
TILE_BYTES: Final = 80 << 20  # resident, at most, of an idle tile
FILES: Final = 4096  # a thousand connections cost the user-mode NIC two descriptors each, and then some


class Check(NamedTuple):
    """What was looked at, OK, WARN or FAIL, what was found, and the command that mends it."""

    name: str
    state: str
    detail: str
    fix: str = ""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME, help="check what this machine offers", description="Check what a mesh needs here; say how to get it."
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print every check; 1 if one failed."""
    checks = examine()
    if args.output == "json":
        print_json([check._asdict() for check in checks])
    else:
        print_checks(checks)
    return int(any(check.state == FAIL for check in checks))


def examine() -> list[Check]:
    """Return all checks, those that must hold first."""
    single: Sequence[Callable[[], Check]] = (
        python, runtime_directory, tun, tap, hardening, free_memory, file_limit, left_over_meshes,
    )  # fmt: skip
    return [
        *(distribution(name, module) for name, module in DISTRIBUTIONS),
        *(check() for check in single),
        *(program(name, package) for name, package in PROGRAMS),
    ]


def print_checks(checks: Sequence[Check]) -> None:
    """Print a line per check, and under it the fix where one is needed."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{paint(check.state)}{' ' * (4 - len(check.state))}  {check.name:{width}}  {check.detail}")
        if check.fix:
            print(f"      {'':{width}}  fix: {check.fix}")


def python() -> Check:
    """Name the interpreter; one before 3.11 does not come this far."""
    return Check("python", OK, f"{sys.version.split()[0]}, {sys.executable}")


def distribution(name: str, module: str) -> Check:
    """Look whether a library can really be imported, in a child: an import leaves threads and flags behind."""
    child = subprocess.run(
        [sys.executable, "-P", "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    if child.returncode != 0:
        why = (child.stderr.strip().splitlines() or ["it cannot be imported"])[-1]
        return Check(name, FAIL, why, f"{sys.executable} -m pip install {name}")
    return Check(name, OK, metadata.version(name))


def runtime_directory() -> Check:
    """Look whether the meshes' directory can be used, paths and all."""
    try:
        base = make_base()
        mesh_directory("a" * 32).check_length()
    except OrchestratorError as error:
        return Check("runtime directory", FAIL, str(error), FIX_DIRECTORY)
    return Check("runtime directory", OK, str(base))


def tun() -> Check:
    """Look for the device node."""
    node = Path("/dev/net/tun")
    if not node.exists():
        return Check("/dev/net/tun", WARN, "missing: only --nic user works", "modprobe tun")
    return Check("/dev/net/tun", OK, f"mode {node.stat().st_mode & 0o777:o}")


def tap() -> Check:
    """Make a TAP device in a network namespace of a child."""
    found = namespace.can_have_tap()
    if not found:
        return Check("TAP device", WARN, f"{found.reason}: only --nic user works", found.fix)
    return Check("TAP device", OK, "made in a network namespace of its own, and gone again")


def hardening() -> Check:
    """Let a child give up what tiles give up, and say what this kernel offers for it."""
    child = subprocess.run(
        [sys.executable, "-P", "-m", "dlibos_node.hardening"], capture_output=True, text=True, check=False
    )
    if child.returncode != 0:
        why = (child.stderr.strip().splitlines() or ["no word"])[-1]
        return Check("hardening", FAIL, why, "report it, with this line and `uname -a`")
    outcomes = json.loads(child.stdout)
    if missing := [one for one in outcomes if one["state"] != "enforced"]:
        detail = "; ".join(f"{one['mechanism']} not offered: {one['detail']}" for one in missing)
        return Check("hardening", WARN, detail, "; ".join(one["fix"] for one in missing))
    details = {one["mechanism"]: one["detail"] for one in outcomes}
    return Check("hardening", OK, f"{', '.join(details)}; landlock has {details['landlock']}")


def free_memory() -> Check:
    """Look whether a few tiles, and a full 6x6 mesh, fit."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) << 10
    detail = f"{free >> 20} MiB available; a tile takes up to {TILE_BYTES >> 20} MiB"
    if free < 3 * TILE_BYTES:
        return Check("memory", FAIL, detail, "end other programs, or add memory or swap")
    if free < 36 * TILE_BYTES:
        return Check("memory", WARN, f"{detail}: not enough for 36", f"ask for at most {free // TILE_BYTES} tiles")
    return Check("memory", OK, detail)


def file_limit() -> Check:
    """Look how many connections a tile may have; `up` raises the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        return Check("open files", WARN, f"hard limit {hard}; {FILES} serve a thousand connections", "ulimit -Hn 65536")
    return Check("open files", OK, f"hard limit {hard if hard != resource.RLIM_INFINITY else 'none'}")


def left_over_meshes() -> Check:
    """Look for directories without processes and processes without directory."""
    base, running = base_directory(), {Path(process.directory) for process in processes.scan()}
    try:
        present = {path for path in base.iterdir() if path.is_dir()} if base.is_dir() else set()
    except OSError as error:
        return Check("left-over meshes", WARN, f"cannot look into {base}: {error.strerror}", FIX_DIRECTORY)
    if left := sorted((present - running) | {path for path in running if not path.is_dir()}):
        fix = " && ".join(f"DLIBOS_RUNTIME_DIR={path.parent} dlibos down --name {path.name}" for path in left)
        return Check("left-over meshes", WARN, ", ".join(path.name for path in left), fix)
    names = ", ".join(sorted(path.name for path in running))
    return Check("left-over meshes", OK, f"none; up: {names}" if running else "none")


def program(name: str, package: str) -> Check:
    """Look for a program that some commands use when it is there."""
    where = shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)
    if where is None:
        return Check(name, WARN, "not found; optional", f"apt-get install {package}")
    return Check(name, OK, where)
