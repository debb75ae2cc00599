"""The open descriptors of a process, by kind: what a tile can still use of what it does not have to open."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

# /proc/net tables of sockets, and the place of the inode in a line of each, counted from 0.
_TABLES: Final = {"unix": 6, "tcp": 9, "tcp6": 9, "udp": 9, "udp6": 9, "raw": 9, "packet": 8, "netlink": 9}
_KINDS: Final = (
    (re.compile(r"/dev/net/tun"), "tap"),
    (re.compile(r"/dev/null"), "null"),
    (re.compile(r"/memfd:dlibos-.*"), "partition"),
    (re.compile(r"pipe:.*"), "pipe"),
    (re.compile(r"anon_inode:\[(\w+)\]"), r"\1"),
    (re.compile(r"anon_inode:(\w+)"), r"\1"),
    (re.compile(r"/.*\.log"), "log"),
    (re.compile(r"/.*\.pcap"), "capture"),
)


def descriptors(pid: int) -> Counter[str]:
    """Return how many descriptors of each kind process `pid` has open: "tap", "partition", "unix", "eventpoll", ...

    What is of no known kind goes by its path. Needs CAP_SYS_PTRACE for a process that was hardened, unless it asks for
    itself. Raises OSError when it may not look or the process has ended.
    """
    process = Path(f"/proc/{pid}")
    sockets = _sockets(process / "net")
    found: Counter[str] = Counter()
    for entry in (process / "fd").iterdir():
        try:
            found[_kind(str(entry.readlink()), sockets)] += 1
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


def _kind(target: str, sockets: dict[str, str]) -> str:
    if match := re.fullmatch(r"socket:\[(\d+)\]", target):
        return sockets.get(match[1], "unbound socket")
    for pattern, kind in _KINDS:
        if match := pattern.fullmatch(target):
            return match.expand(kind)
    return target


def _sockets(net: Path) -> dict[str, str]:
    """Return the table each socket of a network namespace stands in, by inode."""
    found: dict[str, str] = {}
    for table, place in _TABLES.items():
        for line in (net / table).read_text().splitlines()[1:] if (net / table).exists() else ():
            fields = line.split()
            if len(fields) > place:
                found[fields[place]] = table.removesuffix("6")
    return found
