"""`dlibos exec -- CMD`: run a program where the mesh's address is reachable; the exit code is the program's."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
from pathlib import Path
from typing import Final

from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.errors import MeshStateError, UsageError
from dlibos_orchestrator.model.options import MeshOptions, check_name
from dlibos_orchestrator.output import notice
from dlibos_orchestrator.runtime import local
from dlibos_orchestrator.runtime.directory import mesh_directory

NAME: Final = "exec"
NOT_FOUND: Final = 127  # as shells say it
NOT_EXECUTABLE: Final = 126


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="run a program inside the mesh's network",
        description="Run CMD where the mesh is reachable, at the address in its variable DLIBOS_ADDRESS.",
    )
    parser.add_argument("--name", default=MeshOptions.name, help="name of the mesh (default)")
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="-- CMD", help="the program and its arguments")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Become the program."""
    check_name(args.name)
    program = args.program[1:] if args.program[:1] == ["--"] else args.program
    if not program:
        raise UsageError("exec: no program given, as in `dlibos exec -- curl http://10.77.0.2/`")
    directory = mesh_directory(args.name)
    if not directory.mesh_file.exists():
        raise MeshStateError(f"no mesh {args.name!r} is up; start one with `dlibos up`")
    local.enter(directory)
    os.environ["DLIBOS_ADDRESS"] = local.reachable_address(directory.read_mesh())
    return _become(program)


def _become(program: list[str]) -> int:
    # What Python ignores or `dlibos` catches, the program must find as a shell would hand it over.
    for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    name = program[0]
    # Not execvp alone: it says "permission denied" for a program that is nowhere if one directory cannot be searched.
    if shutil.which(name) is None and not ("/" in name and Path(name).exists()):
        notice(f"exec: {name!r} is not found; install it, or give its path")
        return NOT_FOUND
    try:
        os.execvp(name, program)  # noqa: S606 - to run the user's own program is what the command is for
    except OSError as error:
        notice(f"exec: {name!r} cannot be run: {error.strerror}; name a file that may be executed")
        return NOT_EXECUTABLE
