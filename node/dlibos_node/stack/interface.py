"""The mesh's interface: who we are on the wire.

There is no neighbour cache yet: a server answers every frame to where it came from, which is right for hosts on the
link and for those behind a router. A host that opens connections itself needs one.
"""

from __future__ import annotations


class Interface:
    """One Ethernet address (6 bytes), one IPv4 address (int); `mtu` in bytes of IP packet."""

    __slots__ = ("address", "mac", "mtu")

    def __init__(self, mac: bytes, address: int, mtu: int = 1500) -> None:
        self.mac = mac
        self.address = address
        self.mtu = mtu
