"""Network interfaces of the namespace this process is in, by ioctl: a fresh machine may have no `ip` program.

Read netdevice(7) and Documentation/networking/tuntap.rst of the kernel first.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final

TAP_NAME: Final = "dlibos0"
QUEUE_FRAMES: Final = 2048  # frames a TAP queue holds; an mPIPE ring as Linux and Rusty sized it

# linux/sockios.h
SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
SIOCSIFADDR: Final = 0x8916
SIOCSIFNETMASK: Final = 0x891C
SIOCSIFMTU: Final = 0x8922
SIOCSIFHWADDR: Final = 0x8924
# linux/rtnetlink.h, linux/netlink.h, linux/if_link.h
RTM_SETLINK: Final = 19
NLM_F_REQUEST_ACK: Final = 0x5
IFLA_TXQLEN: Final = 13
# linux/if_tun.h
TUNSETIFF: Final = 0x400454CA
TUNSETQUEUE: Final = 0x400454D9
IFF_TAP: Final = 0x0002
IFF_MULTI_QUEUE: Final = 0x0100
IFF_DETACH_QUEUE: Final = 0x0400
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000
# linux/if.h
IFF_UP: Final = 0x1
# linux/if_arp.h
ARPHRD_ETHER: Final = 1

TAP_FLAGS: Final = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE

# struct ifreq is 40 bytes on 64-bit machines: a name of 16 and a union.
_FLAGS: Final = struct.Struct("16sH22x")
_NUMBER: Final = struct.Struct("16si20x")
_HARDWARE: Final = struct.Struct("16sH6s16x")
_ADDRESS: Final = struct.Struct("16sH2x4s16x")
# struct nlmsghdr, struct ifinfomsg, and struct rtattr with a 32-bit value
_NETLINK: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ATTRIBUTE: Final = struct.Struct("=HHI")


def make_tap(name: str, mac: str, address: str, mtu: int) -> int:
    """Make the TAP device `name`, up and with an address; return the detached queue that keeps it alive. OSError."""
    queue = open_tap_queue(name)
    try:
        configure(name, mac, address, mtu)
        detach_queue(queue)
    except OSError:
        os.close(queue)
        raise
    return queue


def open_tap_queue(name: str) -> int:
    """Open one more queue of the TAP device `name`, which the first queue creates; return its descriptor. OSError."""
    queue = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(queue, TUNSETIFF, _FLAGS.pack(name.encode(), TAP_FLAGS))
    except OSError:
        os.close(queue)
        raise
    return queue


def open_detached_queue(name: str) -> int:
    """Open one more queue that is given no frames yet, but for those of the moment in between. OSError."""
    queue = open_tap_queue(name)
    try:
        detach_queue(queue)
    except OSError:
        os.close(queue)
        raise
    return queue


def detach_queue(queue: int) -> None:
    """Take a queue out of service: no frame is steered to it any more, but it keeps the device alive."""
    fcntl.ioctl(queue, TUNSETQUEUE, _FLAGS.pack(b"", IFF_DETACH_QUEUE))


def bring_up(name: str) -> None:
    """Set the interface up."""
    with _control_socket() as control:
        request = fcntl.ioctl(control, SIOCGIFFLAGS, _FLAGS.pack(name.encode(), 0))
        flags = _FLAGS.unpack(request)[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, _FLAGS.pack(name.encode(), flags | IFF_UP))


def configure(name: str, mac: str, address: str, mtu: int) -> None:
    """Give the interface a `mac`, an IPv4 `address` ("10.77.0.1/24"), its `mtu` in bytes, a queue length; set it up."""
    _refuse_ipv6(name)
    network = ipaddress.IPv4Interface(address)
    with _control_socket() as control:
        hardware = _HARDWARE.pack(name.encode(), ARPHRD_ETHER, bytes.fromhex(mac.replace(":", "")))
        fcntl.ioctl(control, SIOCSIFHWADDR, hardware)
        fcntl.ioctl(control, SIOCSIFMTU, _NUMBER.pack(name.encode(), mtu))
        for request, value in ((SIOCSIFADDR, network.ip), (SIOCSIFNETMASK, network.netmask)):
            fcntl.ioctl(control, request, _ADDRESS.pack(name.encode(), socket.AF_INET, value.packed))
    _set_queue_length(name, QUEUE_FRAMES)
    bring_up(name)


def _set_queue_length(name: str, frames: int) -> None:
    """By netlink: the ioctl for it, SIOCSIFTXQLEN, is refused in a user namespace."""
    link = _LINK.pack(0, 0, socket.if_nametoindex(name), 0, 0) + _ATTRIBUTE.pack(_ATTRIBUTE.size, IFLA_TXQLEN, frames)
    header = _NETLINK.pack(_NETLINK.size + len(link), RTM_SETLINK, NLM_F_REQUEST_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
        netlink.send(header + link)
        refusal = -int.from_bytes(netlink.recv(4096)[_NETLINK.size :][:4], sys.byteorder, signed=True)
    if refusal:
        raise OSError(refusal, os.strerror(refusal))


def _control_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def _refuse_ipv6(name: str) -> None:
    """The mesh speaks IPv4 only so far: keep router solicitations and the like off its wire."""
    switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
    if switch.exists() and os.access(switch, os.W_OK):
        switch.write_text("1")
