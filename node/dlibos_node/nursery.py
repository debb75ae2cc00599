"""`python -m dlibos_node.nursery --dir DIR --fd N --tile ... --incarnation ...`: a process that forks tiles.

Half a second of a tile's start is Python's and its libraries' own. The nursery has done that once: it has imported all
that a tile needs, and a tile is a fork of it that begins where `python -m dlibos_node` would after its imports.

    orchestrator ── {"tile", "incarnation", "module"}; log, credentials (SCM_RIGHTS) ──► nursery
    orchestrator ◄─────────── {"pid"} or {"error"} ───────────────────────────────────── nursery

Who may ask: descriptor N is one end of a socket pair. It has no name, so nobody can connect to it, whatever files or
processes he may reach; the nursery ends when the other end is closed, with its owner. A tile inherits neither.
What a tile may not know, the nursery never knew: it passes the descriptor of a tile's credentials on and reads nothing.

A fork is safe as the nursery has one thread, no event loop, and has imported gRPC without making any object of it.
All tiles of one nursery share the layout of their address space (ASLR) and the seed of Python's string hashes, as
workers of any pre-forking server do: who has read one tile's memory knows where things lie in the others. What is drawn
for security (nonces, TCP's secret) comes from the kernel, anew in each process.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

MODULES: Final = ("dlibos_node", "dlibos_node.attack")  # what a fork may become
WARM: Final = ("dlibos_node.__main__", "dlibos_node.apps.registry")
REQUEST: Final = 4096  # bytes of the longest request


class Order(NamedTuple):
    """What a fork is to be. `credentials` is -1 in a mesh without protection."""

    tile: int
    incarnation: int
    module: str
    log: int
    credentials: int


def main(arguments: list[str] | None = None) -> int:
    """Fork tiles until the owner closes its end."""
    parser = argparse.ArgumentParser(prog="nursery")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--fd", required=True, type=int)
    parser.add_argument("--tile", required=True, help="room for a tile's number")
    parser.add_argument("--incarnation", required=True, help="room for an incarnation")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children leave no zombies: nobody here waits for them
    with socket.socket(fileno=options.fd) as owner:
        owner.set_inheritable(False)
        for module in WARM:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()  # a collection in a fork would copy every page it looks at
        return serve(owner, options.dir)


def serve(owner: socket.socket, directory: str) -> int:
    """Answer the owner's requests until it has gone."""
    while True:
        text, descriptors, _, _ = socket.recv_fds(owner, REQUEST, 2)
        if not text:
            return 0
        try:
            reply: dict[str, object] = {"pid": fork(parse(text, descriptors), directory)}
        except (OSError, ValueError) as error:
            reply = {"error": str(error)}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            owner.send(json.dumps(reply).encode())
        except ConnectionError:
            return 0


def parse(text: bytes, descriptors: list[int]) -> Order:
    """Return the order a request stands for; ValueError for one that makes no sense."""
    said: Any = json.loads(text)
    match said:
        case {"tile": int(tile), "incarnation": int(incarnation), "module": str(module)} if module in MODULES:
            if descriptors:
                return Order(tile, incarnation, module, descriptors[0], (*descriptors, -1)[1])
    raise ValueError("not a request for a tile")


def fork(order: Order, directory: str) -> int:
    """Return the process id of a new tile, once the process table shows it as that tile. OSError."""
    named, naming = os.pipe()
    with os.fdopen(named, "rb") as child:
        try:
            pid = os.fork()
            if not pid:
                _live(order, directory, naming)
        finally:
            os.close(naming)
        child.read()  # ends when the child closes its end: it has its name now, or has ended
        return pid


def _live(order: Order, directory: str, naming: int) -> NoReturn:
    """Be the tile, in the child; never return to the nursery's code."""
    code = 1
    try:
        _settle(order, naming)
        rename(order, directory)
        os.close(naming)
        arguments = ["--dir", directory, "--tile", str(order.tile), "--incarnation", str(order.incarnation)]
        if order.credentials >= 0:
            arguments += ["--credentials-fd", str(order.credentials)]
        code = importlib.import_module(f"{order.module}.__main__").main(arguments)
    except SystemExit as end:
        code = _exit_code(end.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _exit_code(said: object) -> int:
    if said is None or isinstance(said, int):
        return said or 0
    print(said, file=sys.stderr)
    return 1


def _settle(order: Order, naming: int) -> None:
    """Become a process of its own: session, streams, signals, and no descriptor that is not its own."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (order.log, 1), (order.log, 2)):
        os.dup2(source, target)
    kept = {0, 1, 2, order.credentials, naming}
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor not in kept:
            _close(descriptor)


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:  # the descriptor that listed them
        return


def rename(order: Order, directory: str) -> None:
    """Let the process table show a tile's command line, in place of the nursery's, which is longer."""
    # proc_pid_stat(5), fields 48 and 49; the text after the name begins with field 3
    fields = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()
    start, end = int(fields[45]), int(fields[46])
    ctypes.memmove(start, command_line(order, directory, end - start), end - start)


def command_line(order: Order, directory: str, room: int) -> bytes:
    """Return the arguments of a tile, each with its closing zero, filled up with zeros to `room` bytes. ValueError."""
    tile, incarnation = str(order.tile), str(order.incarnation)
    words = [sys.executable, "-P", "-m", order.module, "--dir", directory, "--tile", tile, "--incarnation", incarnation]
    text = b"".join(os.fsencode(word) + b"\0" for word in words)
    if len(text) > room:
        raise ValueError(f"the command line of tile {tile} needs {len(text)} bytes of {room}")
    return text.ljust(room, b"\0")


if __name__ == "__main__":
    sys.exit(main())
