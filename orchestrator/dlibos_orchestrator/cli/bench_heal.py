"""`dlibos bench heal`: what the clients notice of a tile that is killed, or hangs."""

from __future__ import annotations

import argparse
import signal
from typing import Final

from dlibos_orchestrator.bench import heal
from dlibos_orchestrator.cli import bench_values, objective
from dlibos_orchestrator.cli.parser import Subparsers
from dlibos_orchestrator.output import notice, print_json, print_table

NAME: Final = "heal"
OBJECTIVE: Final = 1.0  # seconds until service is back
HEADER: Final = ("DEATH", "SERVICE BACK", "TILE READY", "LONGEST GAP", "ITS CONNECTIONS", "RESET", "OTHERS LOST")
DESCRIPTION: Final = """\
Kill tiles of a mesh under load, and see what its clients notice.

Service is back when the first newcomer that came after the death has its page (a new one comes every 20 ms).
Only connections of the dead tile may be reset: a driver tile has none, its flows go on by another.
With --hang tiles are also stopped (SIGSTOP): they must be noticed, fenced and replaced the same way.
Each round ends with the death of the orchestrator and its broker, which nobody may notice.
"""
EPILOG: Final = """\
Exit code: 0 all was well, 1 others than the dead tile's connections were lost, 2 usage, 3 a kill cost more than 1 s.
Needs root (or a user namespace that may make a TAP device), and: apt-get install wrk util-linux
"""


def add(subparsers: Subparsers) -> None:
    """Add the benchmark."""
    parser = subparsers.add_parser(
        NAME,
        help="kill tiles under load, and see who notices",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=bench_values.rounds, default=5, metavar="N", help="deaths of each role (5)")
    parser.add_argument("--tiles", type=bench_values.rounds, default=2, metavar="N", help="tiles of each role (2)")
    parser.add_argument("--connections", type=objective.connections, default=100, metavar="N", help="of wrk (100)")
    parser.add_argument("--hang", action="store_true", help="also stop tiles")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print")
    parser.set_defaults(benchmark=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Kill, and print what was noticed."""
    signals = (signal.SIGKILL, signal.SIGSTOP) if args.hang else (signal.SIGKILL,)
    result = heal.run(heal.Plan(args.rounds, args.tiles, args.connections, signals), notice)
    if args.output == "json":
        print_json(as_json(result))
    else:
        print_table(HEADER, [_row(death) for death in result.deaths])
    if any(death.innocent for death in result.deaths):
        return 1
    killed = [death for death in result.deaths if death.signal == signal.SIGKILL.name]
    return 3 if any(death.account.back is None or death.account.back >= OBJECTIVE for death in killed) else 0


def as_json(result: heal.Result) -> dict[str, object]:
    """Return the result as a JSON object."""
    deaths = [{**death._asdict(), "account": death.account._asdict()} for death in result.deaths]
    return {"deaths": deaths, "load": result.load._asdict()}


def _row(death: heal.Death) -> tuple[str, ...]:
    account = death.account
    return (
        f"{death.signal} {death.name}",
        "-" if account.back is None else f"{account.back:.2f} s",
        f"{death.ready:.2f} s",
        f"{account.gap:.2f} s",
        str(death.had),
        str(death.lost),
        str(death.innocent),
    )
