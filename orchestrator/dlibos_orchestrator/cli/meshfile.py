"""The mesh file: TOML tables whose keys are checked one by one, so that all that is wrong can be said at once.

    [mesh]       the long flags of `dlibos up`
    [nic]        kind, publish, pcap, fault
    [tunables]   fields of mesh_pb2.Tunables
    [[domain]]   name, port, app, kind, root
    [autoscale]  high, low, hold, rest

Paths are relative to the file. What is read comes by the destinations of `up`'s flags.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from dlibos_orchestrator.cli import values
from dlibos_orchestrator.cli.parser import did_you_mean
from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.options import AutoscaleLimits, MeshOptions

NOT_IN_FILES: Final = {"config", "output", "help"}
TABLES: Final = ("mesh", "nic", "tunables", "domain", "autoscale")
NIC_KEYS: Final = {"kind": "nic", "publish": "publish", "pcap": "pcap", "fault": "fault"}  # key -> flag
PATHS: Final = {"root"}  # of a domain


class MeshFile:
    """What a file says, by destinations of flags (`values`), and what is wrong in it (`problems`, one line each)."""

    def __init__(self, file: Path, parser: argparse.ArgumentParser) -> None:
        self.values: dict[str, object] = {}
        self.problems: list[str] = []
        self._file = file
        self._said: dict[str, str] = {}  # destination -> where
        self._flags = {name: action for action in parser._actions if (name := _flag(action))}
        document = self._load()
        for name in document:
            if name not in TABLES:
                self._problem(f"unknown table or key {name!r}{did_you_mean(name, TABLES)}")
        self._flag_table(
            "mesh", self._table(document, "mesh"), {name: name for name in self._flags.keys() - NOT_IN_FILES}
        )
        self._flag_table("nic", self._table(document, "nic"), NIC_KEYS)
        self._tunables(self._table(document, "tunables"))
        self._domains(document.get("domain", []))
        self._autoscale(self._table(document, "autoscale"))

    def _load(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self._file.read_text())
        except OSError as error:
            raise UsageError(f"{self._file}: {error.strerror}; `dlibos config` prints one to begin with") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{self._file}: not TOML: {error}") from error

    def _table(self, document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        table = document.get(name, {})
        if isinstance(table, dict):
            return table
        self._problem(f"{name!r} is not a table; write [{name}]")
        return {}

    def _flag_table(self, table: str, entries: Mapping[str, Any], flags: Mapping[str, str]) -> None:
        for key, value in entries.items():
            if key not in flags:
                self._problem(f"unknown key {key!r} in [{table}]{did_you_mean(key, flags)}")
                continue
            action = self._flags[flags[key]]
            self._take(f"[{table}]", key, action.dest, partial(_convert, action, value, self._file.parent))

    def _tunables(self, entries: Mapping[str, Any]) -> None:
        found: dict[str, int] = {}
        for key, value in entries.items():
            try:
                found |= values.tunables(f"{key}={_whole(value)}")
            except (argparse.ArgumentTypeError, ValueError) as error:
                self._problem(f"key {key!r} in [tunables]: {error}")
        if entries:
            self._take("[tunables]", "tune", "tune", lambda: found)

    def _domains(self, entries: object) -> None:
        if not isinstance(entries, list):
            self._problem("'domain' is not a list of tables; write [[domain]] above each")
            return
        found = []
        for number, entry in enumerate(entries, 1):
            where = f"[[domain]] {number}"
            try:
                found.append(values.domain(",".join(self._domain_words(entry, where))))
            except (argparse.ArgumentTypeError, ValueError) as error:
                self._problem(f"{where}: {error}")
        if entries:
            self._take("[[domain]]", "domain", "domain", lambda: found)

    def _domain_words(self, entry: object, where: str) -> list[str]:
        if not isinstance(entry, dict):
            raise ValueError("is not a table")
        for key in entry:
            if key not in values.DOMAIN_KEYS:
                self._problem(f"unknown key {key!r} in {where}{did_you_mean(key, values.DOMAIN_KEYS)}")
        known = {key: value for key, value in entry.items() if key in values.DOMAIN_KEYS}
        return [f"{key}={self._domain_value(key, value)}" for key, value in known.items()]

    def _domain_value(self, key: str, value: object) -> str:
        text = _text(value)
        if "," in text:
            raise ValueError(f"{key}: {text!r} may not have a comma")
        return str(_beside(self._file.parent, text)) if key in PATHS else text

    def _autoscale(self, entries: Mapping[str, Any]) -> None:
        limits: dict[str, float] = {}
        for key, value in entries.items():
            if key not in values.AUTOSCALE:
                self._problem(f"unknown key {key!r} in [autoscale]{did_you_mean(key, values.AUTOSCALE)}")
                continue
            try:
                limits[key] = values.autoscale_limit(key, str(value))
            except argparse.ArgumentTypeError as error:
                self._problem(f"key {key!r} in [autoscale]: {error}")
        if entries:
            self._take("[autoscale]", "autoscale", "autoscale", lambda: AutoscaleLimits(**limits))

    def _take(self, where: str, key: str, destination: str, convert: Callable[[], object]) -> None:
        try:
            converted = convert()
        except (argparse.ArgumentTypeError, ValueError) as error:
            self._problem(f"key {key!r} in {where}: {error}")
            return
        if destination in self.values:
            self._problem(f"{key!r} in {where} was said in {self._said[destination]} already; leave one out")
            return
        self.values[destination], self._said[destination] = converted, where

    def _problem(self, words: str) -> None:
        self.problems.append(f"{self._file}: {words}")


def read_file(file: Path, parser: argparse.ArgumentParser) -> dict[str, object]:
    """Return the values of a mesh file by the parser's destinations; UsageError names the first that is wrong."""
    read = MeshFile(file, parser)
    if read.problems:
        others = len(read.problems) - 1
        more = f" (and {others} more: `dlibos validate {file}`)" if others else ""
        raise UsageError(f"{read.problems[0]}{more}")
    return read.values


def options_of(file: Path, parser: argparse.ArgumentParser) -> MeshOptions:
    """Return the mesh that a file describes, checked. UsageError."""
    options = _options(read_file(file, parser), parser)
    options.check()
    return options


def problems_of(file: Path, parser: argparse.ArgumentParser) -> list[str]:
    """Return all that is wrong in a file, one line each: in its keys, or else with the mesh it describes."""
    try:
        read = MeshFile(file, parser)
        if not read.problems:
            _options(read.values, parser).check()
    except UsageError as error:
        words = str(error)
        return [words if words.startswith(str(file)) else f"{file}: {words}"]
    return read.problems


def mesh_options(args: argparse.Namespace) -> MeshOptions:
    """Return the mesh that the flags describe; a flag that was not given is None."""
    plain = (
        "name", "driver", "stack", "app", "idle", "app_kind", "root", "nic", "pcap", "fault", "protection", "tune",
        "autoscale", "broker",
    )  # fmt: skip
    options = replace(MeshOptions(), **{key: value for key in plain if (value := getattr(args, key)) is not None})
    if args.mesh is not None:
        options = replace(options, width=args.mesh[0], height=args.mesh[1])
    return replace(options, publish=tuple(args.publish or ()), domain=tuple(args.domain or ()))


def _options(read: Mapping[str, object], parser: argparse.ArgumentParser) -> MeshOptions:
    nothing = {action.dest: None for action in parser._actions}
    return mesh_options(argparse.Namespace(**{**nothing, **read}))


def _flag(action: argparse.Action) -> str:
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
    text = str(_beside(folder, _text(value))) if action.metavar == "DIR" else _text(value)
    converted = action.type(text) if callable(action.type) else text
    if action.choices is not None and converted not in _words(action.choices):
        raise ValueError(f"{text!r}{did_you_mean(text, _words(action.choices))}")
    return converted


def _words(choices: Any) -> Collection[str]:
    return tuple(choices)


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{value!r} is not a string or a whole number")
    return str(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _beside(folder: Path, text: str) -> str:
    return os.fspath(folder / Path(text).expanduser())
