"""The process that owns a mesh's network namespace and its TAP device, and hands queues of it to driver tiles.

`python -m dlibos_orchestrator.runtime.keeper --dir DIR --ready-fd FD`. A client that connects to the unix socket
mesh.json names (nic.keeper) and sends b"Q" gets one line of JSON, {"name": ..., "mtu": ...} or {"error": ...}, and with
the former one new queue's descriptor (SCM_RIGHTS). One queue per connection. The namespace ends with the keeper and the
last process that holds a queue.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.runtime import interface, namespace
from dlibos_orchestrator.runtime.directory import MeshDirectory

CLIENT_PATIENCE = 2.0  # seconds a client may take to say what it wants; the directory is the owner's alone


def make_device(nic: mesh_pb2.Nic) -> int:
    """Enter a fresh namespace and make the device there; return the detached queue that keeps it alive."""
    namespace.enter_fresh()
    interface.bring_up("lo")
    return interface.make_tap(interface.TAP_NAME, nic.peer_mac, nic.peer_address, nic.mtu)


def serve(listener: socket.socket, mtu: int) -> None:
    """Answer one client after the other, until the process is ended."""
    while True:
        client, _ = listener.accept()
        with client:
            client.settimeout(CLIENT_PATIENCE)
            try:
                answer(client, mtu)
            except OSError as error:
                print(f"a client for a queue was lost: {error}", file=sys.stderr, flush=True)


def answer(client: socket.socket, mtu: int) -> None:
    """Serve one client: a queue, or the reason why there is none."""
    if client.recv(1) != b"Q":
        client.sendall(_line({"error": "unknown request; send Q for one queue"}))
        return
    try:
        queue = interface.open_tap_queue(interface.TAP_NAME)
    except OSError as error:
        client.sendall(_line({"error": f"no queue of {interface.TAP_NAME}: {error.strerror}"}))
        return
    try:
        socket.send_fds(client, [_line({"name": interface.TAP_NAME, "mtu": mtu})], [queue])
    finally:
        os.close(queue)


def _line(message: dict[str, str | int]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the keeper; one line on `--ready-fd` says whether it serves."""
    parser = argparse.ArgumentParser(prog="keeper")
    parser.add_argument("--dir", required=True, type=Path)
    parser.add_argument("--ready-fd", required=True, type=int)
    options = parser.parse_args(arguments)
    nic = MeshDirectory(options.dir).read_mesh().nic
    os.chdir("/")
    with os.fdopen(options.ready_fd, "w") as ready:
        try:
            make_device(nic)
            listener = _listen(Path(nic.keeper))
        except OSError as error:
            ready.write(f"no TAP device: {error.strerror}; use --nic user, or see `dlibos doctor`")
            return 1
        ready.write("ready")
    serve(listener, nic.mtu)
    return 0


if __name__ == "__main__":
    sys.exit(main())
