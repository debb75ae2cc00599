"""Ports of the host that lead into the mesh: bound by the launcher before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.errors import MachineError


@contextmanager
def host_sockets(mesh: mesh_pb2.Mesh) -> Iterator[list[socket.socket]]:
    """Bind the published ports before anything starts. With the user-mode NIC the drivers bind them again later."""
    sockets: list[socket.socket] = []
    try:
        for port in mesh.nic.publish:
            sockets.append(_bind(port))
        if mesh.nic.kind == mesh_pb2.NIC_KIND_USER:
            _close_all(sockets)
        yield sockets
    finally:
        _close_all(sockets)


def _close_all(sockets: list[socket.socket]) -> None:
    while sockets:
        sockets.pop().close()


def _bind(port: mesh_pb2.Publish) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((port.host, port.host_port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise MachineError(_why_not_published(port, error)) from error
    return listener


def _why_not_published(port: mesh_pb2.Publish, error: OSError) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--publish: {port.host} is not an address of this machine; use 127.0.0.1"
    other = port.host_port + (10_000 if port.host_port < 50_000 else -10_000)
    return (
        f"port {port.host}:{port.host_port} cannot be published: {error.strerror}; "
        f"choose another, as in --publish {other}:{port.mesh_port}"
    )
