"""`dlibos`: the table of commands, and how an error becomes one line and an exit code.

A command is a module with `add(subparsers)`, which sets `run` as default of its parser, and `run(args) -> int`.
Exit codes: 0 ok, 1 failed, 2 usage, 3 objective missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final, NoReturn, cast

from dlibos_orchestrator import __version__
from dlibos_orchestrator.cli import (
    assign,
    attack,
    autoscale,
    bench,
    completion,
    config,
    demo,
    doctor,
    down,
    drain,
    events,
    execute,
    logs,
    place,
    ps,
    restart,
    scale,
    top,
    up,
    validate,
)
from dlibos_orchestrator.cli.parser import Parser, did_you_mean
from dlibos_orchestrator.errors import OrchestratorError

COMMANDS: Final[Sequence[ModuleType]] = (
    up, ps, scale, assign, drain, restart, autoscale, events, top, execute, logs, down, demo, attack, bench, place,
    validate, config, doctor, completion,
)  # fmt: skip


def build_parser() -> Parser:
    """Return the parser of `dlibos` with all commands."""
    parser = Parser(prog="dlibos", description="A mesh of driver, stack and application tiles on this machine.")
    parser.add_argument("--version", action="store_true", help="print the version, and whether the core runs compiled")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command", parser_class=Parser)
    for command in COMMANDS:
        command.add(subparsers)
    for subparser in subparsers.choices.values():
        subparser.set_defaults(parser=subparser)
    return parser


def version() -> str:
    """Return the version and which build of the core the tiles run."""
    return f"dlibos {__version__} (core: {'compiled' if core_is_compiled() else 'pure Python'})"


def core_is_compiled() -> bool:
    """Tell whether mypyc's output lies in the tiles' package, without importing it."""
    package = importlib.util.find_spec("dlibos_node")
    folders = (package.submodule_search_locations or []) if package else []
    return any(list(Path(folder, "tcp").glob("*.so")) for folder in folders)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    _refuse_unknown_command(parser, argv)
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        _refuse_unknown_flag(args.parser if args.command else parser, unknown[0])
    if args.version:
        print(version())
        return 0
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    return _guarded(args)


def _guarded(args: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _interrupt)  # a command that is ended cleans up as after ctrl-C
    try:
        code = cast(int, args.run(args))
        sys.stdout.flush()
    except OrchestratorError as error:
        print(f"dlibos: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"dlibos: {args.command} was interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone, as in `dlibos ps | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # what no command foresaw: a full disk, a directory that may not be entered
        print(f"dlibos: {args.command}: {error}; see `dlibos doctor`", file=sys.stderr)
        return 1
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _refuse_unknown_command(parser: Parser, argv: Sequence[str]) -> None:
    known = {command.NAME for command in COMMANDS}
    if argv and not argv[0].startswith("-") and argv[0] not in known:
        parser.error(f"unknown command {argv[0]!r}{did_you_mean(argv[0], known)}")


def _refuse_unknown_flag(parser: argparse.ArgumentParser, word: str) -> NoReturn:
    flags = [option for option in parser._option_string_actions if option.startswith("--")]
    hint = did_you_mean(word.partition("=")[0], flags) if word.startswith("-") else ""
    parser.error(f"unknown argument {word!r}{hint}")
