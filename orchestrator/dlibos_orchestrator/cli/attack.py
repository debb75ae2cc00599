"""`dlibos attack`: break in from compromised tiles; the exit code tells whether protection held."""

from __future__ import annotations

import argparse
from typing import Final

from dlibos_orchestrator.attack import report
from dlibos_orchestrator.attack import run as suite
from dlibos_orchestrator.attack.catalogue import CATALOGUE, find
from dlibos_orchestrator.attack.verdict import PROTECTED, UNPROTECTED
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.output import notice, print_json, print_table

NAME: Final = "attack"
MODES: Final = {PROTECTED: (PROTECTED,), UNPROTECTED: (UNPROTECTED,), "both": (PROTECTED, UNPROTECTED)}
DESCRIPTION: Final = """\
Bring a mesh up in which a driver, a stack and an application tile are the attacker's, and have them break in: each with
the descriptors, mappings, keys and links that an honest tile of its role has. Honest clients of another domain are
served meanwhile and compare every byte. Without protection the same attacks run again; those that must succeed there
show that they were tried in earnest.
"""
EPILOG: Final = """\
Exit code: 0 all blocked, all that must succeed unprotected did, no client saw an error; 1 otherwise; 2 usage.
Needs root (or a user namespace that may make a TAP device). docs/attacks.md says how to read the table.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        NAME,
        help="break in from compromised tiles, protected and not",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", type=_names, default=(), metavar="NAME,...", help="these attacks alone")
    parser.add_argument("--mode", choices=tuple(MODES), default="both", help="what to run them against (both)")
    parser.add_argument("--list", action="store_true", help="say what there is and try nothing")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the suite and print what came of it."""
    attacks = find(args.only)
    if args.list:
        _list(args.output)
        return 0
    rows = suite.run(attacks, MODES[args.mode], notice)
    if args.output == "json":
        print_json(report.as_json(rows))
    else:
        report.print_report(rows)
    return 0 if all(row.ok for row in rows) else 1


def _list(output: str) -> None:
    if output == "json":
        print_json([report.described(attack) for attack in CATALOGUE])
        return
    rows = [(a.name, a.by, a.aim, a.mechanism, "must succeed" if a.must else "") for a in CATALOGUE]
    print_table(("ATTACK", "BY", "AIM", "EXPECTED MECHANISM", "UNPROTECTED"), rows)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)
