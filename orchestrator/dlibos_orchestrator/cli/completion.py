"""`dlibos completion SHELL`: a script that completes commands and flags, made from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Final

from dlibos_orchestrator.cli.parser import Subparsers

NAME: Final = "completion"
# zsh runs bash's completion functions once bashcompinit is loaded.
ZSH_PREFIX: Final = "#compdef dlibos\nautoload -U +X bashcompinit && bashcompinit\n"
BASH: Final = """\
_dlibos() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}"
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{commands}" -- "$word"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
}}
complete -o default -F _dlibos dlibos
"""
BASH_CASE: Final = '        {command}) COMPREPLY=($(compgen -W "{flags}" -- "$word")) ;;'


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="print a shell completion script",
        description='Print a script that completes dlibos, as in: eval "$(dlibos completion bash)"',
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=run, commands=subparsers)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    flags = {name: _flags(parser) for name, parser in args.commands.choices.items()}
    print(fish(flags) if args.shell == "fish" else (ZSH_PREFIX if args.shell == "zsh" else "") + bash(flags), end="")
    return 0


def bash(flags: Mapping[str, Sequence[str]]) -> str:
    """Return the script for bash, given the flags of each command."""
    cases = [BASH_CASE.format(command=command, flags=" ".join(words)) for command, words in flags.items()]
    return BASH.format(commands=" ".join(flags), cases="\n".join(cases))


def fish(flags: Mapping[str, Sequence[str]]) -> str:
    """Return the script for fish, given the flags of each command."""
    lines = [f"complete -c dlibos -n __fish_use_subcommand -a '{' '.join(flags)}'"]
    for command, words in flags.items():
        for word in words:
            lines.append(f"complete -c dlibos -n '__fish_seen_subcommand_from {command}' -l {word.removeprefix('--')}")
    return "\n".join(lines) + "\n"


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    """Return the flags of a command and of all it is divided into."""
    divisions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    inner = [flag for action in divisions for one in action.choices.values() for flag in _flags(one)]
    return sorted({*inner, *(option for option in parser._option_string_actions if option.startswith("--"))})
