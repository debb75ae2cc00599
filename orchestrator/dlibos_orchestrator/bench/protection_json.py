"""The result of the protection benchmark as JSON for programs."""

from __future__ import annotations

from typing import Any

from dlibos_orchestrator.bench.contrast import QUESTIONS, Question
from dlibos_orchestrator.bench.page import PAGE_BYTES
from dlibos_orchestrator.bench.protection import ProtectionResult


def as_json(result: ProtectionResult) -> dict[str, Any]:
    """Return everything, the raw rounds included. Times in seconds unless the key says us."""
    setting, plan = result.setting, result.plan
    return {
        "benchmark": "protection",
        "versions": setting.versions,
        "machine": {"cpus": setting.cpus, "model": setting.cpu_model, "load_average": setting.load_average},
        "core": "compiled" if setting.compiled else "pure Python",
        "page_bytes": PAGE_BYTES,
        "plan": {**plan._asdict(), "objectives": [one._asdict() for one in plan.objectives]},
        "errors": result.errors,
        "servers": [
            {**one._asdict(), "requests_per_second": one.requests_per_second._asdict()} for one in result.servers
        ],
        **{question.name: _answers_json(result, question) for question in QUESTIONS},
        "parts": _parts_json(result),
        "objectives": [
            {**one._asdict(), "objective": one.objective.name, "wanted": one.objective.value} for one in result.verdicts
        ],
        "legs": [
            {**leg._asdict(), "load": leg.load._asdict(), "tiles": [use._asdict() for use in leg.tiles]}
            for leg in result.legs
        ],
    }


def _answers_json(result: ProtectionResult, question: Question) -> dict[str, Any]:
    answers = [
        {
            "connections": one.connections,
            "measure": one.measure,
            "ratio": one.ratio._asdict(),
            "cost": dict(zip(("mean", "low", "high"), one.cost, strict=True)),
        }
        for one in result.contrasts
        if one.question is question
    ]
    return {"ours": question.ours, "theirs": question.theirs, "meaning": question.meaning, "answers": answers}


def _parts_json(result: ProtectionResult) -> dict[str, Any]:
    split = result.parts
    return {
        "core": split.core,
        "us_per_request": {name: one._asdict() for name, one in split.parts.items()},
        "sum": split.sum._asdict(),
        "whole": split.whole._asdict(),
        "unexplained": split.unexplained._asdict(),
        "adds_up": split.add_up,
        "syscall_filter_us_per_request": split.syscalls,
        "once_ms_per_partition": split.once,
        "protected_path_us": result.protected_path,
        "raw": split.raw,
    }
