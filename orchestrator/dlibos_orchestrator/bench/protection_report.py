"""The result of the protection benchmark as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dlibos_orchestrator.bench.contrast import KERNEL, QUESTIONS, THROUGHPUT, Contrast, Question, ServerSummary, Verdict
from dlibos_orchestrator.bench.leg import PROTECTED
from dlibos_orchestrator.bench.page import PAGE_BYTES
from dlibos_orchestrator.bench.protection import ProtectionResult
from dlibos_orchestrator.bench.report import latency
from dlibos_orchestrator.output import print_table

SERVERS: Final = ("CONNECTIONS", "SERVER", "req/s", "p50", "p99", "CPU us/REQUEST", "BY ROLE", "ERRORS")
ANSWERS: Final = ("CONNECTIONS", "MEASURE", "COST", "95 % INTERVAL", "BOOTSTRAP", "HALF WIDTH")
RATIOS: Final = ("CONNECTIONS", "MEASURE", "RATIO", "95 % INTERVAL", "BOOTSTRAP", "HALF WIDTH")
PARTS: Final = ("PART", "CPU us/REQUEST", "95 % INTERVAL", "OF THE PROTECTED PATH")
OBJECTIVES: Final = ("OBJECTIVE", "CONNECTIONS", "WANTED", "FOUND", "95 % INTERVAL", "VERDICT", "INTERVAL AGREES")


def print_report(result: ProtectionResult) -> None:
    """Print what was compared, each question apart, where the time goes, and how the objectives were met."""
    print(heading(result))
    print()
    print_table(SERVERS, [_server(one) for one in result.servers])
    for question in QUESTIONS:
        print(f"\n{title(question)}")
        mine = [one for one in result.contrasts if one.question is question]
        print_table(RATIOS if question is KERNEL else ANSWERS, [_answer(one) for one in mine])
    print(f"\nwhere protection's time goes: one process, no gRPC, core {result.parts.core}")
    print_table(PARTS, part_rows(result))
    print(_sum_words(result))
    print(_apart_words(result))
    if result.verdicts:
        print()
        print_table(OBJECTIVES, [_verdict(one) for one in result.verdicts])


def heading(result: ProtectionResult) -> str:
    """Return the lines that say what the figures hold for."""
    plan, setting = result.plan, result.setting
    versions = setting.versions
    return "\n".join((
        f"meshes  {plan.driver} driver, {plan.stack} stack, {plan.app} app, protected and unprotected; fused: "
        f"{plan.driver} tile; core: {'compiled' if setting.compiled else 'pure Python'}; dlibos {versions['dlibos']}, "
        f"Python {versions['python']}, grpcio {versions['grpcio']}",
        f"nginx   {versions['nginx']}, one worker, over a veth pair",
        f"client  {versions['wrk']}, one thread, in each server's network namespace; page of {PAGE_BYTES} bytes",
        f"machine {setting.cpus} CPUs, shared by client and servers; {setting.cpu_model}; Linux {versions['kernel']}; "
        f"load average {setting.load_average:.1f} before",
        f"rounds  {plan.rounds} of {plan.seconds} s for each server, all up at once; order drawn with seed "
        f"{plan.seed}, every second round the mirror image of the one before",
        "figures medians (min-max) of the rounds; costs are means of paired log ratios within a round, with Student's "
        "t and bootstrap intervals",
    ))  # fmt: skip


def title(question: Question) -> str:
    """Return the line above an answer: a cost is never called by another one's name."""
    if question is KERNEL:
        return f"fused against nginx, ours over theirs: {question.meaning}"
    return f"cost of {question.name.upper()}, {question.ours} against {question.theirs}: {question.meaning}"


def part_rows(result: ProtectionResult) -> list[tuple[str, ...]]:
    """Return the rows of the parts, their sum, the whole, and what the sum leaves unexplained."""
    split, whole_path = result.parts, protected_path(result)
    lines = {
        **split.parts,
        "sum of the parts": split.sum,
        "whole, measured apart": split.whole,
        "whole less sum": split.unexplained,
    }
    return [
        (name, f"{one.mean:.2f}", f"{one.low:.2f} to {one.high:.2f}", f"{one.mean / whole_path:.2%}")
        for name, one in lines.items()
    ]


def protected_path(result: ProtectionResult) -> float:
    """Return the CPU microseconds of a request through the protected mesh, at the fewest connections measured."""
    return next(one.cpu_us_per_request for one in result.servers if one.server == PROTECTED)


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
        "protected_path_us": protected_path(result),
        "raw": split.raw,
    }


def _server(one: ServerSummary) -> tuple[str, ...]:
    rate = one.requests_per_second
    roles = ", ".join(f"{role} {cpu:.1f}" for role, cpu in one.roles.items()) or "-"
    return (
        str(one.connections),
        one.server,
        f"{rate.median:,.0f} ({rate.low:,.0f}-{rate.high:,.0f})",
        latency(one.p50),
        latency(one.p99),
        f"{one.cpu_us_per_request:.1f}",
        roles,
        str(one.errors),
    )


def _answer(one: Contrast) -> tuple[str, ...]:
    ratio, form = one.ratio, "{:.3f}" if one.question is KERNEL else "{:+.1%}"
    figures = ratio[:3] if one.question is KERNEL else one.cost
    mean, low, high = figures
    resampled = sorted(_as_cost(one, value) for value in (ratio.bootstrap_low, ratio.bootstrap_high))
    return (
        str(one.connections),
        one.measure,
        form.format(mean),
        f"{form.format(low)} to {form.format(high)}",
        " to ".join(form.format(value) for value in resampled),
        form.replace("+", "").format((high - low) / 2),
    )


def _as_cost(one: Contrast, ratio: float) -> float:
    if one.question is KERNEL:
        return ratio
    return 1 - ratio if one.measure == THROUGHPUT else ratio - 1


def _sum_words(result: ProtectionResult) -> str:
    split = result.parts
    agreement = "adds up to" if split.add_up else "DOES NOT add up to"
    return (
        f"the sum {agreement} the whole: they differ by {split.unexplained.mean:+.2f} us, "
        f"uncertain by {split.unexplained.half_width:.2f} us; a request costs {split.path['protected']:.1f} us there, "
        f"{protected_path(result):.1f} us through the protected mesh"
    )


def _apart_words(result: ProtectionResult) -> str:
    once = ", ".join(
        f"{what} {by_mode['protected']:.2f} ms a partition ({by_mode['unprotected']:.2f} unprotected)"
        for what, by_mode in result.parts.once.items()
    )
    return f"besides: the system-call filter, {result.parts.syscalls:.2f} us for a readv and a writev; once, {once}"


def _verdict(one: Verdict) -> Sequence[str]:
    form = "{:.1%}" if one.objective.name == "overhead" else "{:.2f}"
    sign = "<=" if one.objective.name == "overhead" else ">="
    return (
        one.objective.name,
        str(one.connections),
        f"{sign} {form.format(one.objective.value)}",
        form.format(one.found),
        f"{form.format(one.low)} to {form.format(one.high)}",
        "met" if one.met else "missed",
        "yes" if one.certain else "no: more rounds would tell",
    )
