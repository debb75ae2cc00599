"""A mesh from a file: table [mesh] of a TOML file, whose keys are the long flags of `dlibos up`; flags override it."""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dlibos_orchestrator.cli.parser import did_you_mean
from dlibos_orchestrator.errors import UsageError

NOT_IN_FILES: Final = {"config", "output", "help"}


def read_config(file: Path, parser: argparse.ArgumentParser) -> dict[str, object]:
    """Return the values of `file` by the parser's destinations, each checked by its flag's own type."""
    table = _mesh_table(file)
    actions = {name: action for action in parser._actions if (name := _key(action)) and name not in NOT_IN_FILES}
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in actions:
            raise UsageError(f"{file}: unknown key {key!r} in [mesh]{did_you_mean(key, actions)}")
        try:
            values[actions[key].dest] = _convert(actions[key], value, file.parent)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise UsageError(f"{file}: key {key!r} in [mesh]: {error}") from error
    return values


def _mesh_table(file: Path) -> Mapping[str, object]:
    try:
        document = tomllib.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"--config {file}: {error.strerror}; name a file with a [mesh] table") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not TOML: {error}") from error
    for name in document:
        if name != "mesh":
            raise UsageError(f"{file}: unknown table or key {name!r}; a mesh is described in table [mesh]")
    table = document.get("mesh", {})
    if not isinstance(table, dict):
        raise UsageError(f"{file}: 'mesh' is not a table; begin the file with [mesh]")
    return table


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
