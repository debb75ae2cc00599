"""The table of attacks, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dlibos_orchestrator.attack.catalogue import Attack
from dlibos_orchestrator.attack.verdict import PROTECTED, UNPROTECTED, Result, Row, summary
from dlibos_orchestrator.output import print_table

HEADER: Final = ("ATTACK", "BY", "EXPECTED MECHANISM", "PROTECTED: BLOCKED BY", "UNPROTECTED: WHAT HAPPENED", "CLIENTS")


def print_report(rows: Sequence[Row]) -> None:
    """Print a row for each attack, and the sum."""
    print_table(HEADER, [_cells(row) for row in rows])
    print()
    print(summary(rows))


def _cells(row: Row) -> tuple[str, ...]:
    attack = row.attack
    texts = [row.results[mode].text if mode in row.results else "-" for mode in (PROTECTED, UNPROTECTED)]
    return (attack.name, attack.by, attack.mechanism, *texts, _clients(row.results.get(PROTECTED)))


def _clients(result: Result | None) -> str:
    """Return what clients saw in the protected mode."""
    if result is None:
        return "-"
    return f"{result.clients.requests} ok" + (f", {result.clients.errors} errors" if result.clients.errors else "")


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Return all of it as data."""
    return {"ok": all(row.ok for row in rows), "summary": summary(rows), "attacks": [_object(row) for row in rows]}


def _object(row: Row) -> dict[str, Any]:
    results = {
        mode: {"ok": result.ok, "what": result.text, "clients": result.clients._asdict()}
        for mode, result in row.results.items()
    }
    return {**described(row.attack), "ok": row.ok, **results}


def described(attack: Attack) -> dict[str, Any]:
    """Return what the catalogue says of an attack."""
    return {
        "name": attack.name,
        "by": attack.by,
        "aim": attack.aim,
        "mechanism": attack.mechanism,
        "expects": sorted(attack.expects),
        "must_succeed_unprotected": attack.must,
    }
