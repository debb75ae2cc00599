"""A throw-away kernel peer: run as a program, it makes a network namespace with a TAP device and hands out its queues.

    python tap_namespace.py SOCKET

The kernel's end is 10.77.0.1/24. Its port 7 sends a megabyte to whoever connects; port 8 reads to the end of stream
and answers with the SHA-256.
Prints "ready", or the reason why it cannot; lives until its standard input ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import selectors
import socket
import struct
import sys
import threading
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
TUNSETIFF, SIOCSIFADDR, SIOCSIFFLAGS, SIOCSIFNETMASK = 0x400454CA, 0x8916, 0x8914, 0x891C
TAP_FLAGS = 0x0002 | 0x1000 | 0x4000 | 0x0100  # IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE
NAME = b"test0"
PAYLOAD = bytes(range(256)) * 4096


def enter_namespace() -> None:
    """With privilege a network namespace is enough; without it, it needs a user namespace around it."""
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if not libc.unshare(CLONE_NEWNET):
        return
    if libc.unshare(CLONE_NEWNET | CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")


def open_queue() -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", NAME, TAP_FLAGS))
    return descriptor


def configure() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, address in ((SIOCSIFADDR, "10.77.0.1"), (SIOCSIFNETMASK, "255.255.255.0")):
            sockaddr = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, request, struct.pack("16s16s8x", NAME, sockaddr))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", NAME, 0x1 | 0x40))  # IFF_UP | IFF_RUNNING


def set_down() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", NAME, 0))


def delete() -> None:
    """Remove the interface under its queues: RTM_DELLINK by index, with an acknowledgement."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        index = socket.if_nametoindex(NAME.decode())
        route.send(struct.pack("IHHII", 32, 17, 0x5, 1, 0) + struct.pack("BxHiII", 0, 0, index, 0, 0))
        route.recv(4096)


def serve_bytes(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(PAYLOAD)


def serve_digest(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            digest = hashlib.sha256()
            while data := connection.recv(1 << 18):
                digest.update(data)
            connection.sendall(digest.digest())


def answer(keeper: socket.socket, kept: list[int]) -> None:
    """D: interface down. X: interface deleted. Else: a queue (the first one is the one that holds the device)."""
    connection, _ = keeper.accept()
    with connection:
        command = connection.recv(1024)
        if command in {b"D", b"X"}:
            set_down() if command == b"D" else delete()
            connection.sendall(b"done")
            return
        descriptor = kept.pop() if kept else open_queue()
        socket.send_fds(connection, [b'{"name": "test0", "mtu": 1500}\n'], [descriptor])
        os.close(descriptor)


def main() -> None:
    try:
        enter_namespace()
        kept = [open_queue()]
        configure()
    except OSError as error:
        print(f"no TAP device can be made here: {error}", flush=True)
        return
    for port, serve in ((7, serve_bytes), (8, serve_digest)):
        listener = socket.create_server(("10.77.0.1", port))
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
    with socket.socket(socket.AF_UNIX) as keeper, selectors.DefaultSelector() as selector:
        keeper.bind(sys.argv[1])
        keeper.listen()
        selector.register(keeper, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while [key.fileobj for key, _ in selector.select()] == [keeper]:
            answer(keeper, kept)


if __name__ == "__main__":
    main()
