"""A mesh from a file, mesh.toml. What its tables say is what the flags of `dlibos up` say; flags override it.

[mesh]        size = "6x6", and every other long flag: driver, stack, app, idle, publish, protection, ...
[nic]         kind, pcap, fault (a table or a string)
[tunables]    one key for each tunable
[[domain]]    name, port, app, kind, root: one table for each protection domain
[autoscale]   high, low, hold, rest
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from dlibos_orchestrator.cli import values
from dlibos_orchestrator.cli.parser import did_you_mean
from dlibos_orchestrator.errors import UsageError

NOT_IN_FILES: Final = {"config", "output", "help"}
NIC: Final = {"kind": "nic", "pcap": "pcap", "fault": "fault"}
TABLES: Final = ("mesh", "nic", "tunables", "domain", "autoscale")


class Entry(NamedTuple):
    """A value for a flag, and where it stands in the file."""

    flag: str
    value: object
    where: str


class Problem(NamedTuple):
    """What is wrong in a file, behind its name."""

    text: str


def read_config(file: Path, parser: argparse.ArgumentParser) -> dict[str, object]:
    """Return the values of `file` by the parser's destinations, each checked by its flag's own type. UsageError."""
    found, problems = examine(file, parser)
    if problems:
        raise UsageError(problems[0])
    return found


def examine(file: Path, parser: argparse.ArgumentParser) -> tuple[dict[str, object], list[str]]:
    """Return the values of `file` by the parser's destinations, and all that is wrong with it."""
    actions = {name: action for action in parser._actions if (name := _key(action)) and name not in NOT_IN_FILES}
    found: dict[str, object] = {}
    problems: list[str] = []
    for entry in _entries(_document(file), set(actions), file.parent):
        if isinstance(entry, Problem):
            problems.append(f"{file}: {entry.text}")
        elif actions[entry.flag].dest in found:
            problems.append(f"{file}: {entry.where}: it is said twice; leave one of the two out")
        else:
            try:
                found[actions[entry.flag].dest] = _convert(actions[entry.flag], entry.value, file.parent)
            except (argparse.ArgumentTypeError, ValueError) as error:
                problems.append(f"{file}: {entry.where}: {error}")
    return found, problems


def _document(file: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; name a mesh file, as `dlibos config` prints one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not TOML: {error}") from error


def _entries(document: Mapping[str, object], flags: set[str], folder: Path) -> Iterator[Entry | Problem]:
    for name, table in document.items():
        if name not in TABLES:
            yield Problem(f"unknown table or key {name!r}{did_you_mean(name, TABLES)}")
        elif name == "domain":
            yield from _domains(table, folder)
        elif not isinstance(table, dict):
            yield Problem(f"{name!r} is not a table; begin it with [{name}]")
        elif name == "mesh":
            yield from _mesh(table, flags)
        elif name == "nic":
            yield from _nic(table)
        else:
            yield from _pairs(name, table)


def _mesh(table: Mapping[str, object], flags: set[str]) -> Iterator[Entry | Problem]:
    known = (flags - {"mesh"}) | {"size"}
    for key, value in table.items():
        flag = "mesh" if key == "size" else key
        if flag in flags:
            yield Entry(flag, value, f"key {key!r} in [mesh]")
        else:
            yield Problem(f"unknown key {key!r} in [mesh]{did_you_mean(key, known)}")


def _nic(table: Mapping[str, object]) -> Iterator[Entry | Problem]:
    for key, value in table.items():
        if key not in NIC:
            yield Problem(f"unknown key {key!r} in [nic]{did_you_mean(key, NIC)}")
        else:
            yield Entry(NIC[key], _joined(value) if isinstance(value, dict) else value, f"key {key!r} in [nic]")


def _pairs(name: str, table: Mapping[str, object]) -> Iterator[Entry | Problem]:
    """[tunables] and [autoscale]: flags whose value is KEY=VALUE,..., each key looked at by itself first."""
    flag, check = {"tunables": ("tune", values.tunables), "autoscale": ("autoscale", values.autoscale)}[name]
    good: dict[str, object] = {}
    for key, value in table.items():
        try:
            check(f"{key}={value}")
            good[key] = value
        except argparse.ArgumentTypeError as error:
            yield Problem(f"key {key!r} in [{name}]: {error}")
    if good or name == "autoscale":
        yield Entry(flag, _joined(good), f"table [{name}]")


def _domains(tables: object, folder: Path) -> Iterator[Entry | Problem]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        yield Problem("'domain' is not a list of tables; begin each with [[domain]]")
        return
    texts = []
    for number, table in enumerate(tables, 1):
        unknown = [key for key in table if key not in values.DOMAIN_KEYS]
        for key in unknown:
            yield Problem(f"unknown key {key!r} in [[domain]] {number}{did_you_mean(key, values.DOMAIN_KEYS)}")
        if "root" in table:
            table["root"] = os.fspath(folder / Path(str(table["root"])).expanduser())
        if not unknown:
            texts.append(_joined(table))
    if texts:
        yield Entry("domain", texts, "[[domain]]")


def _joined(table: Mapping[str, object]) -> str:
    return ",".join(f"{key}={value}" for key, value in table.items())


def _key(action: argparse.Action) -> str:
    return next((option[2:] for option in action.option_strings if option.startswith("--")), "")


def _convert(action: argparse.Action, value: object, folder: Path) -> object:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is not true or false")
        return value
    if isinstance(action, argparse._AppendAction):
        return [_one(action, item, folder) for item in (value if isinstance(value, list) else [value])]
    return _one(action, value, folder)


def _one(action: argparse.Action, value: object, folder: Path) -> object:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{value!r} is not a string or a whole number")
    text = os.fspath(folder / Path(str(value)).expanduser()) if action.metavar == "DIR" else str(value)
    converted = action.type(text) if callable(action.type) else text
    if action.choices is not None and converted not in action.choices:
        raise ValueError(f"{text!r}{did_you_mean(text, action.choices)}")
    return converted
