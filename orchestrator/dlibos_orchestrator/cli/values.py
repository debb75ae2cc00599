"""Values of flags: text to typed values, with a message that says what is expected."""

from __future__ import annotations

import ipaddress
import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Final

from dlibos.control.v1 import mesh_pb2

from dlibos_orchestrator.cli.parser import did_you_mean
from dlibos_orchestrator.model.options import NAME, AutoscaleLimits, Domain, Faults, Published

DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
DOMAIN_KEYS: Final = ("name", "port", "app", "kind", "root")
AUTOSCALE: Final = ("high", "low", "hold", "rest")
NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
TUNABLES: Final = mesh_pb2.Tunables.DESCRIPTOR.fields_by_name
PROBABILITIES: Final = ("loss", "duplicate", "corrupt", "reorder")


def count(text: str) -> int:
    """Return a number of tiles."""
    if not text.isdecimal() or len(text) > 4:
        raise ArgumentTypeError(f"{text!r} is not a count; expected a number such as 2")
    return int(text)


def duration(text: str) -> float:
    """Return the seconds of "500ms", "2s" or "1m"."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not a duration; expected one such as 500ms, 2s or 1m")
    return float(match[1]) * SECONDS[match[2]]


def mesh_size(text: str) -> tuple[int, int]:
    """Return (width, height) of "6x6"."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and len(text) < 8):
        raise ArgumentTypeError(f"{text!r} is not a mesh size; expected WIDTHxHEIGHT, such as 6x6")
    return int(width), int(height)


def published(text: str) -> Published:
    """Return what "8080:80" or "127.0.0.1:8080:80" publishes."""
    host, _, ports = text.rpartition(":")[0].rpartition(":")
    host_port, mesh_port = ports, text.rpartition(":")[2]
    if not (_is_port(host_port) and _is_port(mesh_port)):
        raise ArgumentTypeError(f"{text!r} is not [HOST:]PORT:MESH_PORT, such as 8080:80, with ports from 1 to 65535")
    return Published(_host(host or "127.0.0.1"), int(host_port), int(mesh_port))


def faults(text: str) -> Faults:
    """Return the faults of "loss=0.01,seed=3"."""
    values: dict[str, float] = {}
    seed = 0
    for item in text.split(","):
        key, _, value = item.partition("=")
        if key == "seed":
            seed = _seed(value)
        elif key in PROBABILITIES:
            values[key] = _probability(key, value)
        else:
            raise ArgumentTypeError(f"unknown fault {key!r}; known: {', '.join(PROBABILITIES)} (0 to 1) and seed")
    return Faults(seed=seed, **values)


def domain(text: str) -> Domain:
    """Return the protection domain of "name=a,port=80,app=2,kind=web,root=DIR"."""
    given: dict[str, str] = {}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if key not in DOMAIN_KEYS or not equals:
            raise ArgumentTypeError(f"{item!r} is not KEY=VALUE with a key of {', '.join(DOMAIN_KEYS)}")
        given[key] = value
    if not NAME.fullmatch(given.get("name", "")):
        raise ArgumentTypeError(f"{text!r} needs a name of a-z 0-9 _ -, such as name=a,port=80")
    if not _is_port(given.get("port", "80")):
        raise ArgumentTypeError(f"port={given['port']} is not a port from 1 to 65535")
    root = path(given["root"]) if "root" in given else None
    app = count(given.get("app", "1"))
    return Domain(given["name"], given.get("kind", "web"), int(given.get("port", "80")), app, root)


def tunables(text: str) -> dict[str, int]:
    """Return the tunables of "backlog=64,moderation_us=0", each within the bounds that the contract gives it."""
    return dict(_tunable(item) for item in text.split(","))


def autoscale(text: str) -> AutoscaleLimits:
    """Return the limits of "high=0.8,low=0.2,hold=5s,rest=15s"; those left out have their default."""
    limits: dict[str, float] = {}
    for item in text.split(","):
        key, _, value = item.partition("=")
        if key not in AUTOSCALE:
            raise ArgumentTypeError(f"unknown limit {key!r}{did_you_mean(key, AUTOSCALE)}")
        limits[key] = autoscale_limit(key, value)
    return AutoscaleLimits(**limits)


def autoscale_limit(key: str, text: str) -> float:
    """Return the value of one limit: a share from 0 to 1, or a duration, which may be a number of seconds."""
    if key in ("high", "low"):
        return _probability(key, text, "share")
    return float(text) if NUMBER.fullmatch(text) else duration(text)


def path(text: str) -> Path:
    """Return an absolute path."""
    return Path(text).expanduser().absolute()


def _tunable(item: str) -> tuple[str, int]:
    key, _, value = item.partition("=")
    if key not in TUNABLES:
        raise ArgumentTypeError(f"unknown tunable {key!r}{did_you_mean(key, TUNABLES)}")
    bounds = TUNABLES[key].GetOptions().Extensions[mesh_pb2.bounds]
    if not (value.isdecimal() and len(value) <= 10 and bounds.least <= int(value) <= bounds.most):
        raise ArgumentTypeError(f"{item!r}: {key} is a number from {bounds.least} to {bounds.most}")
    return key, int(value)


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535


def _host(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address("127.0.0.1" if text == "localhost" else text))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not an IPv4 address of this machine, such as 127.0.0.1") from error


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 64:
        raise ArgumentTypeError(f"seed={text} is not a whole number below 2**64")
    return int(text)


def _probability(key: str, text: str, what: str = "probability") -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ArgumentTypeError(f"{key}={text} is not a {what} from 0 to 1")
    return value
